from tests.hub.conftest import hub, no_hub

__all__ = ["hub", "no_hub"]
