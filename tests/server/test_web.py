"""The page of jobs: who may see and do what, over real HTTP on a port that the system chose."""

import contextlib
import http.client
import re
import shutil
import time
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit

import pytest

from fastclust.errors import InputError
from fastclust.report import write_report
from fastclust.v1 import common_pb2, job_pb2, spec_pb2
from fastclust_server.auth import Authenticator
from fastclust_server.config import Settings
from fastclust_server.database import Database
from fastclust_server.jobs.records import CANCELLED, QUEUED, ArtifactRecord, NewJob
from fastclust_server.jobs.store import JobStore
from fastclust_server.storage.folder import DataFolder
from fastclust_server.web import Site
from tests.report.conftest import FLAGS
from tests.report.runs import write_run

TOKENS = {"secret-of-ann": "ann", "secret-of-bob": "bob"}


@contextlib.contextmanager
def served(folder, tokens, changed):
    data = DataFolder(folder)
    data.open()
    database = Database(data.database_url)
    database.prepare()
    settings = Settings(folder, web="127.0.0.1:0", tokens=folder / "tokens" if tokens else None)
    store = JobStore(database)
    site = Site(data, store, Authenticator(tokens), settings, changed=lambda: changed.append(1))
    try:
        parts = urlsplit(site.start())
        yield SimpleNamespace(
            at=(parts.hostname, parts.port),
            key=parts.query.removeprefix("key="),
            store=store,
            folder=data,
            changed=changed,
        )
    finally:
        site.close()
        database.close()
        data.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(tmp_path_factory.mktemp("web"), TOKENS, []) as found:
        yield found


def ask(site, method, path, *, form=None, **headers):
    """One request, without following where it leads."""
    connection = http.client.HTTPConnection(*site.at, timeout=10)
    body = None if form is None else urlencode(form)
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return SimpleNamespace(status=answer.status, text=text, headers=answer.headers)


def sign_in(site, token):
    answer = ask(site, "POST", "/sign-in", form={"token": token})
    assert answer.status == 303, answer.text
    return answer.headers["Set-Cookie"].split(";")[0]


def new(site, owner, name=""):
    spec = spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(clusters=spec_pb2.ClusterCount(fixed=3)))
    return site.store.create(NewJob(owner, "kmeans", spec.SerializeToString(), name))


def form_of(page):
    return re.search(r'name="form" value="(\w+)"', page.text)[1]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/reports/" + "0" * 32), ("POST", "/cancel"), ("POST", "/sign-out")]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic secret-of-ann"},
        {"Cookie": "fastclust-{port}=YW5u.9999999999.0000"},
        {"Cookie": "fastclust-{port}=é"},
    ],
)
def test_nobody_gets_anything_without_a_token(site, method, path, headers):
    new(site, "ann", "hidden work")
    headers = {name: value.format(port=site.at[1]) for name, value in headers.items()}
    answer = ask(site, method, path, form={"job": "x"} if method == "POST" else None, **headers)
    assert answer.status == 401
    assert "hidden work" not in answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_token_does_not_sign_in(site):
    answer = ask(site, "POST", "/sign-in", form={"token": "secret-of-an"})
    assert answer.status == 401
    assert answer.headers["Set-Cookie"] is None


def test_an_owner_sees_his_own_jobs_only(site):
    mine, other = new(site, "ann", "of ann"), new(site, "bob", "of bob")
    page = ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-ann"))
    assert page.status == 200
    assert mine.id in page.text
    assert other.id not in page.text
    assert "of bob" not in page.text
    page = ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-bob"))
    assert other.id in page.text
    assert mine.id not in page.text


def test_a_program_may_send_its_token_instead(site):
    job = new(site, "bob")
    assert job.id in ask(site, "GET", "/", Authorization="Bearer secret-of-bob").text
    assert ask(site, "POST", "/cancel", form={"job": job.id}, Authorization="Bearer secret-of-bob").status == 303
    assert site.store.get("bob", job.id).state == CANCELLED


def test_the_button_cancels_and_wakes_the_server(site):
    job, cookie = new(site, "ann"), sign_in(site, "secret-of-ann")
    before = len(site.changed)
    form = form_of(ask(site, "GET", "/", Cookie=cookie))
    answer = ask(site, "POST", "/cancel", form={"form": form, "job": job.id}, Cookie=cookie)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert site.store.get("ann", job.id).state == CANCELLED
    assert len(site.changed) == before + 1


@pytest.mark.parametrize("given", ["nothing", "another session's", "GET", "another site"])
def test_no_other_site_can_cancel(site, given):
    """The browser would send the cookie along; what the form brings, and where it is from, is looked at too."""
    job, cookie = new(site, "ann"), sign_in(site, "secret-of-ann")
    form, headers = form_of(ask(site, "GET", "/", Cookie=cookie)), {"Cookie": cookie}
    if given == "another session's":
        form = form_of(ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-bob")))
    elif given == "another site":
        headers["Origin"] = "https://elsewhere.org"
    if given == "GET":
        answer = ask(site, "GET", f"/cancel?form={form}&job={job.id}", **headers)
    else:
        answer = ask(
            site, "POST", "/cancel", form={"job": job.id} | ({} if given == "nothing" else {"form": form}), **headers
        )
    assert answer.status in (403, 404)
    assert site.store.get("ann", job.id).state == QUEUED


def test_another_owners_job_is_not_found(site):
    job, cookie = new(site, "bob"), sign_in(site, "secret-of-ann")
    form = form_of(ask(site, "GET", "/", Cookie=cookie))
    answers = [
        ask(site, "POST", "/cancel", form={"form": form, "job": name}, Cookie=cookie) for name in (job.id, "0" * 32)
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text
    assert site.store.get("bob", job.id).state == QUEUED
    assert ask(site, "POST", "/cancel", form={"form": form, "job": "../x"}, Cookie=cookie).status in (400, 404)


def drained(site):
    """Claim all that waits, so that what comes next is claimed next."""
    while site.store.claim("worker", "server", 60) is not None:
        pass


def finished(site, owner, files):
    drained(site)
    new(site, owner, "a <b>run</b>")
    job = site.store.claim("worker", "server", 60)
    assert job.owner == owner
    folder = site.folder.artifacts / job.id / "1"
    folder.mkdir(parents=True)
    records = []
    for name, text in files.items():
        (folder / name).write_text(text)
        records.append(ArtifactRecord(name, "text/html", b"", len(text), 0, is_file=True, file=f"{job.id}/1/{name}"))
    return site.store.complete(job.claim, artifacts_=records, metrics={}, notes={}, progress=b"")


def test_reports_open_for_their_owner_alone_and_cannot_ask_the_page(site):
    job = finished(site, "ann", {"report.html": "<p>the report</p>", "run.json": "{}"})
    cookie, path = sign_in(site, "secret-of-ann"), f"/reports/{job.id}"
    page = ask(site, "GET", "/", Cookie=cookie)
    assert f'href="{path}"' in page.text
    assert "<b>run" not in page.text
    answer = ask(site, "GET", path, Cookie=cookie)
    assert (answer.status, answer.text) == (200, "<p>the report</p>")
    # Its script runs, but in an origin of its own.
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    for path_, who in (
        (path, "secret-of-bob"),
        (f"{path}/../run.json", "secret-of-ann"),
        ("/reports/x", "secret-of-ann"),
    ):
        assert ask(site, "GET", path_, Cookie=sign_in(site, who)).status == 404


def test_progress_and_failures_are_shown(site):
    drained(site)
    new(site, "ann")
    job = site.store.claim("worker", "server", 60)
    now = job_pb2.JobProgress(fraction=0.42, step="map", message="iteration <9>", seconds_left=17)
    site.store.heartbeat(job.claim, now.SerializeToString())
    page = ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-ann"))
    assert all(text in page.text for text in ("42%", "17 s left", "iteration &lt;9&gt;", "running"))
    assert page.headers["Refresh"] == "2"
    now = job_pb2.JobProgress(fraction=0.42, step="map", steps=[job_pb2.JobStep(name="map", seconds_left=9)])
    site.store.heartbeat(job.claim, now.SerializeToString())
    assert "map, 9 s left of it" in ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-ann")).text
    site.store.fail(job.claim, common_pb2.Error(message="no <room>").SerializeToString())
    assert "no &lt;room&gt;" in ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-ann")).text


def test_many_jobs_come_in_pages(site):
    made = [new(site, "bob") for _ in range(60)]
    cookie = sign_in(site, "secret-of-bob")
    first = ask(site, "GET", "/", Cookie=cookie)
    second = ask(site, "GET", re.search(r'href="(/\?before=\d+)"', first.text)[1], Cookie=cookie)
    assert made[-1].id in first.text
    assert made[0].id in second.text
    assert made[0].id not in first.text
    assert made[-1].id not in second.text


def test_pages_load_nothing_and_run_nothing(site):
    page = ask(site, "GET", "/", Cookie=sign_in(site, "secret-of-ann"))
    assert not re.search(r"(?i)<script|src=|url\(|https?://", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Cache-Control"] == "no-store"


def test_cookies_are_kept_from_scripts_and_other_sites_and_end_with_the_session(site):
    answer = ask(site, "POST", "/sign-in", form={"token": "secret-of-ann"})
    assert all(word in answer.headers["Set-Cookie"] for word in ("HttpOnly", "SameSite=Strict"))
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    form = form_of(ask(site, "GET", "/", Cookie=cookie))
    out = ask(site, "POST", "/sign-out", form={"form": form}, Cookie=cookie)
    assert "Max-Age=0" in out.headers["Set-Cookie"]


def test_an_old_cookie_is_none(site, monkeypatch):
    cookie, later = sign_in(site, "secret-of-ann"), time.time() + 13 * 3600
    monkeypatch.setattr("fastclust_server.web.sessions.time.time", lambda: later)
    assert ask(site, "GET", "/", Cookie=cookie).status == 401


def test_a_name_that_was_made_to_point_here_is_refused(site):
    assert ask(site, "GET", "/", Host="elsewhere.org", Authorization="Bearer secret-of-ann").status == 403
    assert ask(site, "GET", "/", Host=f"localhost:{site.at[1]}", Authorization="Bearer secret-of-ann").status == 200


@pytest.mark.parametrize("length", ["100000", "-1", "many"])
def test_long_forms_are_not_read(site, length):
    connection = http.client.HTTPConnection(*site.at, timeout=10)
    connection.putrequest("POST", "/sign-in")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_without_tokens_the_key_of_this_start_is_asked_for(tmp_path):
    with served(tmp_path, None, []) as site:
        job = new(site, "local")
        for path, headers in (("/", {}), ("/?key=wrong", {}), ("/", {"Authorization": "Bearer x"})):
            assert ask(site, "GET", path, **headers).status == 401
        answer = ask(site, "GET", f"/?key={site.key}")
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert job.id in ask(site, "GET", "/", Cookie=answer.headers["Set-Cookie"].split(";")[0]).text


@pytest.mark.parametrize(
    "given",
    [
        {"web": "0.0.0.0:1"},
        {"web": "0.0.0.0:1", "tokens": "t"},
        {"web": "0.0.0.0:1", "tls_cert": "c", "tls_key": "k"},
        {"web": "127.0.0.1:1", "client_ca": "a", "tls_cert": "c", "tls_key": "k"},
        {"web": "127.0.0.1"},
    ],
)
def test_unsafe_pages_are_refused_before_anything_starts(tmp_path, given):
    with pytest.raises(InputError, match="--web"):
        Settings(tmp_path, **given).check()


def test_safe_pages_are_allowed(tmp_path):
    Settings(tmp_path, web="[::1]:0").check()
    Settings(tmp_path, web="0.0.0.0:1", tokens="t", tls_cert="c", tls_key="k").check()


def test_a_server_serves_the_page_and_stops_a_job_from_it(new_server, blobs):
    server = new_server("--web", "127.0.0.1:0").start()
    words = server.process.stdout.readline().decode().split()
    assert words[:3] == ["fastclust", "page", "at"]
    parts = urlsplit(words[3])
    site = SimpleNamespace(at=(parts.hostname, parts.port))
    cookie = ask(site, "GET", f"/?{parts.query}").headers["Set-Cookie"].split(";")[0]
    data = server.upload(blobs())
    job = server.submit(tsne=spec_pb2.TsneSpec(dataset=data.name, max_iter=1_000_000))
    page = ask(site, "GET", "/", Cookie=cookie)
    assert job.name in page.text
    form = {"form": form_of(page), "job": job.name.removeprefix("jobs/")}
    assert ask(site, "POST", "/cancel", form=form, Cookie=cookie).status == 303
    assert server.wait(job, 60).state == job_pb2.JOB_STATE_CANCELLED
    log = (server.data.parent / f"{server.data.name}.log").read_text()
    assert parts.query.removeprefix("key=") not in log


def test_a_real_report_works_in_the_origin_of_its_own(site, tmp_path):
    """In a browser, after signing in by the form: the map is drawn, though the page is nobody's there."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    job = finished(site, "ann", {"report.html": write_report(write_run(tmp_path, n=40)).read_text("utf-8")})
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://{site.at[0]}:{site.at[1]}/")
        page.fill("input[name=token]", "secret-of-ann")
        page.click("button")
        page.click(f"a[href='/reports/{job.id}']")
        page.wait_for_function("document.documentElement.dataset.ready === 'true'")
        assert page.evaluate("window.origin") == "null"
        assert page.locator(".entry").count() == 10
        page.goto(f"http://{site.at[0]}:{site.at[1]}/")
        page.click("button:text('Sign out')")
        assert page.locator("input[name=token]").count() == 1
        browser.close()
    assert problems == []
