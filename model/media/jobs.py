"""Whether a job makes sense, whatever the content."""

from model.media.records import Job
from model.media.sizes import BUDGETS
from model.records import require

MAX_FPS = 240.0


def check(job: Job) -> None:
    """Raises InvalidParameter."""
    budget = job.soft_tokens
    require(budget is None or budget in BUDGETS, "soft_tokens", f"must be one of {BUDGETS}")
    require(job.family != "siglip" or job.read == "image", "read", "this model reads only images")
    require(job.frames is None or job.frames >= 1, "frames", "must be at least 1")
    require(job.fps is None or 0 < job.fps <= MAX_FPS, "fps", f"must be at most {MAX_FPS:g}")
