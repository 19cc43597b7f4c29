"""Many events: several in flight on this machine's threads or on a Dask cluster, answers in the order of the events."""

from trkx.runtime.many.found import Found
from trkx.runtime.many.threads import track_in_threads

__all__ = ["Found", "track_in_threads"]
