"""What all routes share."""

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Any

from starlette.requests import Request

from tinv.ui.changes import ChangeStream
from tinv.ui.image_sets import ImageSets
from tinv.ui.live_run import LiveMetrics, LiveRun
from tinv.ui.run_index import RunIndex
from tinv.ui.sample_images import SampleImages
from tinv.ui.worker import Worker

_MAX_RUNS = 30
"""Whose curves are kept between two requests."""


class Site:
    """The state of a server. All of it can be rebuilt from the files, so a server may end at any time."""

    def __init__(self, root: Path, *, keep_model_s: float):
        """keep_model_s: seconds without work after which a worker process ends."""
        self.runs = RunIndex(root)
        self.image_sets = ImageSets(self.runs.root)
        self.upload_lock = asyncio.Lock()
        self.checker, self.painter = Worker(keep_model_s), Worker(keep_model_s)
        """Checks must not wait for images that are drawn."""
        self.changes = ChangeStream()
        self.samples = SampleImages()
        self._metrics: OrderedDict[Path, LiveMetrics] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    def read_run(self, folder: Path) -> LiveRun:
        """Returns a reader of a run's files as they are now."""
        metrics = self._metrics.setdefault(folder, LiveMetrics(folder))
        self._metrics.move_to_end(folder)
        while len(self._metrics) > _MAX_RUNS:
            self._metrics.popitem(last=False)
        return LiveRun(folder, metrics)

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """Keeps a task until it has ended; asyncio itself does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends the worker processes, but no runs."""
        for task in self._tasks:
            task.cancel()
        await self.checker.close()
        await self.painter.close()


def site_of(request: Request) -> Site:
    """Returns the site of a request."""
    site: Site = request.app.state.site
    return site
