"""A learned word for others: the files of the sd-concepts-library, a truthful card, and their way to the Hub."""

from tinv.publish.publisher import Publisher

__all__ = ["Publisher"]
