"""What the portal's programs count while they work; placo/services/gauges.py adds what the database knows.

Every metric has a label, so that a process that counts nothing leaves no file (docs/adr/0013). Names and meanings:
docs/operations.md.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

effect_seconds = Histogram(
    "placo_step_effect_seconds",
    "How long one attempt at a step took.",
    ("action", "verb"),
    buckets=STEP_BUCKETS,
)
step_seconds = Histogram(
    "placo_step_seconds",
    "From the first attempt at a step until it was done, waits included.",
    ("action", "verb"),
    buckets=STEP_BUCKETS,
)
step_results = Counter(
    "placo_step_results",
    "What came of attempts at steps: done, undone, waiting, retry, failed, rejected, cold, expired, fenced.",
    ("action", "verb", "result"),
)
doorbells = Counter("placo_doorbells", "How often workers were rung for a run.", ("when",))
request_seconds = Histogram(
    "placo_http_request_seconds",
    "How long the portal took to answer.",
    ("view", "method", "status"),
    buckets=REQUEST_BUCKETS,
)
