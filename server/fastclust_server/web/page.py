"""The page as text. Without scripts, and nothing comes from elsewhere; what users named is escaped."""

from __future__ import annotations

import base64
import hashlib
import time
from html import escape
from typing import TYPE_CHECKING

from fastclust.v1 import common_pb2, job_pb2
from fastclust_server.jobs.records import ACTIVE, FAILED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fastclust_server.jobs.records import JobRecord

__all__ = ["POLICY", "jobs_page", "sign_in_page"]

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
header { display: flex; align-items: baseline; gap: 1rem; flex-wrap: wrap }
header form { margin-left: auto }
table { width: 100%; border-collapse: collapse }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #8884; vertical-align: top }
progress { width: 8rem; vertical-align: middle }
small { opacity: .7; display: block; overflow-wrap: anywhere }
.failed { color: light-dark(#a11, #f88) }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: Of our own pages: no script at all, and no other site may show them in a frame or be sent their forms.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def sign_in_page(message: str = "", *, key: bool = False) -> str:
    """Ask for a token, or for the ``key`` of this start."""
    asked = "the key that the server printed when it started" if key else "your token of this server"
    said = f'<p class="failed" role="alert">{escape(message)}</p>' if message else ""
    return _page(
        "Sign in",
        f"""<h1>fastclust</h1>{said}
<form method="post" action="/sign-in">
<label>Sign in with {asked}:<br><input type="password" name="token" size="50" required autofocus
autocomplete="current-password"></label> <button>Sign in</button></form>""",
    )


def jobs_page(
    owner: str,
    jobs: Sequence[JobRecord],
    *,
    reports: Collection[str],
    form: str,
    before: int | None,
    older: int | None,
    queued: int,
) -> str:
    """List jobs.

    Parameters
    ----------
    reports
        Ids of the jobs that have a report.
    form
        What forms send along.
    before, older
        Number that this page begins before, and that the next one does; None for the first, and if there is none.
    queued
        Jobs that wait, of all owners.
    """
    rows = "".join(_row(job, form, report=job.id in reports) for job in jobs)
    table = (
        "<table><thead><tr><th>Job<th>State<th>Progress<th>Created<th>Attempt<th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else "<p>No jobs.</p>"
    )
    turning = [
        '<a href="/">Newest</a>' if before is not None else "",
        f'<a href="/?before={older}">Older</a>' if older is not None else "",
    ]
    return _page(
        "Jobs",
        f"""<header><h1>Jobs of {escape(owner)}</h1><span>{queued} waiting on this server</span>
<form method="post" action="/sign-out"><input type="hidden" name="form" value="{form}"><button>Sign out</button></form>
</header>{table}<p>{" ".join(filter(None, turning))}</p>""",
    )


def _row(job: JobRecord, form: str, *, report: bool) -> str:
    state = job_pb2.JobState.Name(job_pb2.JobState.ValueType(job.state)).removeprefix("JOB_STATE_").lower()
    if job.state in ACTIVE and job.cancel_requested is not None:
        state += ", asked to stop"
    actions = []
    if report:
        actions.append(f'<a href="/reports/{job.id}">Report</a>')
    if job.state in ACTIVE and job.cancel_requested is None:
        actions.append(
            f'<form method="post" action="/cancel"><input type="hidden" name="form" value="{form}">'
            f'<input type="hidden" name="job" value="{job.id}"><button>Cancel</button></form>'
        )
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(job.created))
    return (
        f"<tr><td>{escape(job.display_name or job.kind)}<small>{escape(job.kind)} {escape(job.name)}</small>"
        f'<td class="{state.split(",")[0]}">{state}<td>{_progress(job)}'
        f"<td>{created} UTC<td>{job.attempt} of {job.max_attempts}<td>{' '.join(actions)}</tr>"
    )


def _progress(job: JobRecord) -> str:
    if job.state == FAILED and job.error is not None:
        return f"<small>{escape(common_pb2.Error.FromString(job.error).message[:500])}</small>"
    if job.state not in ACTIVE:
        return "" if job.started is None or job.ended is None else f"{job.ended - job.started:.1f} s"
    now = job_pb2.JobProgress.FromString(job.progress)
    left = f", {now.seconds_left:.0f} s left" if now.HasField("seconds_left") else ""
    of_it = next((step.seconds_left for step in now.steps if step.HasField("seconds_left")), None)
    words = [" ".join(filter(None, (now.step, now.message)))]
    if of_it is not None and not left:
        words.append(f"{of_it:.0f} s left of it")
    told = escape(", ".join(words))
    return (
        f'<progress max="1" value="{now.fraction:.3f}">{now.fraction:.0%}</progress> {now.fraction:.0%}{left}'
        f"<small>{told}</small>"
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title} - fastclust</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )
