#!/usr/bin/env python3
"""EthicalAds beside Marquee, in one run: decisions per second, latency, and eight identical views at once. See README.md.

Nothing of EthicalAds lies in this repository: it is fetched at a pinned commit, set up outside, and driven over HTTP. Where something that this
needs is missing, it says so and ends with 0: a peer that cannot be had is no failure.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

COMMIT = "a68d095dc8d5ace55db3b5350743e45e1df3b837"  # 2026-08-21, the newest when this was written
SOURCE = os.environ.get("ETHICALADS_SOURCE", "https://github.com/readthedocs/ethical-ad-server")
POSTGRES = os.environ.get("BENCH_POSTGRES") or os.environ.get("MARQUEE_TEST_POSTGRES") or "postgres://postgres@127.0.0.1:5432"
HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("BENCH_CACHE", pathlib.Path.home() / ".cache" / "marquee-peers")) / "ethicalads"
MARQUEE = pathlib.Path(os.environ.get("MARQUEE", HERE.parents[2] / "target" / "release" / "marquee"))
ITEMS = 50
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "240"))
CONNECTIONS = 4
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def skip(why):
    print(f"not measured beside EthicalAds: {why}", file=sys.stderr)
    sys.exit(0)


def sh(*command, env=None, cwd=None, why=None, **more):
    """A command's output; where it fails, skips with `why` or shows what it said."""
    done = subprocess.run([str(c) for c in command], env=env, cwd=cwd, capture_output=True, text=True, **more)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        skip(f"{why}: {said}") if why else sys.exit(f"{' '.join(map(str, command))}: {said}")
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Servers:
    """Processes that end with this one."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, command, env, cwd=None, ready=None):
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen([str(c) for c in command], env=env, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        self.running.append(process)
        for _ in range(300):
            if process.poll() is not None:
                break
            if ready():
                return process
            time.sleep(0.1)
        sys.exit(f"{name} did not come up:\n" + (self.folder / f"{name}.log").read_text()[-3000:])

    def stop(self, process):
        self.running.remove(process)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)

    def stop_all(self):
        for process in list(self.running):
            self.stop(process)


def listens(port):
    def ask():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    return ask


def call(url, body=None, headers=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "user-agent": BROWSER} | (headers or {})
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    try:
        return json.loads(text)
    except ValueError:
        return text


def psql(name, *statements):
    commands = [part for statement in statements for part in ("-c", statement)]
    return sh("psql", f"{POSTGRES}/{name}", "-Atq", *commands, why=f"Postgres at {POSTGRES} (BENCH_POSTGRES names another)").strip()


def database(name, template="template1"):
    """A fresh database; its URL."""
    psql("postgres", f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"{POSTGRES}/{name}"


# --- EthicalAds -----------------------------------------------------------------------------------------------------------------------------


def source():
    code = CACHE / COMMIT
    if code.exists():
        return code
    git = CACHE / "git"
    CACHE.mkdir(parents=True, exist_ok=True)
    where = pathlib.Path(SOURCE)
    if where.is_dir():
        git = where
    elif not git.exists():
        sh("git", "clone", "-q", "--bare", SOURCE, git, why="its source cannot be fetched (ETHICALADS_SOURCE names another place)")
    part = CACHE / f"{COMMIT}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    archive = subprocess.run(["git", f"--git-dir={git}", "archive", COMMIT], capture_output=True)
    if archive.returncode != 0:
        skip(f"{git} has no commit {COMMIT}")
    subprocess.run(["tar", "x", "-C", str(part)], input=archive.stdout, check=True)
    part.rename(code)
    return code


def environment(code):
    """Its own locked production dependencies, in a virtual environment outside of this repository."""
    venv, tool = CACHE / "venv", CACHE / "tool"
    if (venv / "bin" / "gunicorn").exists():
        return venv
    if not (tool / "bin" / "uv").exists():
        sh(sys.executable, "-m", "venv", tool, why="no virtual environment can be made")
        sh(tool / "bin" / "pip", "install", "-q", "uv", why="PyPI")
    python = next((p for p in (shutil.which("python3.12"), *map(str, pathlib.Path.home().glob(".pyenv/versions/3.12*/bin/python"))) if p and works(p)), "3.12")
    env = os.environ | {"UV_PROJECT_ENVIRONMENT": str(venv)}
    install = ["sync", "-q", "--frozen", "--no-install-project", "--no-default-groups", "--extra", "production", "--python", python]
    sh(tool / "bin" / "uv", *install, cwd=code, env=env, why="its dependencies (Python 3.12) cannot be installed")
    return venv


def works(python):
    return subprocess.run([python, "-c", "import sys; assert sys.version_info[:2] == (3, 12)"], capture_output=True).returncode == 0


class Ethical:
    name = "EthicalAds"

    def __init__(self, servers):
        self.servers, self.port = servers, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.code = source()
        self.venv = environment(self.code)
        redis = free_port()
        if not shutil.which("redis-server"):
            skip("its production settings ask for redis-server (apt-get install redis-server)")
        servers.start("redis", ["redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", ""], os.environ, "/tmp", listens(redis))
        self.env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "config.settings.production",
            "ENV_FILE": "/dev/null",
            "SECRET_KEY": "bench",
            "ALLOWED_HOSTS": "*",
            "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "DATABASE_URL": f"{POSTGRES}/bench_ethicalads",
            "SENDGRID_API_KEY": "unused",
            "DEFAULT_FILE_STORAGE": "django.core.files.storage.FileSystemStorage",
            "STRIPE_LIVE_SECRET_KEY": "sk_live_unused",
            "STRIPE_SECRET_KEY": "sk_live_unused",
            # One viewer stands for many: the limits per address would hide what is counted.
            "ADSERVER_VIEW_RATELIMITS": "1000000/m",
            # No answer is given twice from a cache: each is a decision.
            "ADSERVER_STICKY_DECISION_DURATION": "0",
            "BENCH_ITEMS": str(ITEMS),
            "BENCH_HOST": f"127.0.0.1:{self.port}",
            "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}",
        }
        manage = [self.venv / "bin" / "python", "manage.py"]
        self.tables(manage)
        said = sh(*manage, "shell", "-v0", cwd=self.code, env=self.env, input=(HERE / "world.py").read_text())
        found = re.search(r"TOKEN=(\w+)", said)
        if not found:
            sys.exit(f"its world was not made: {said}")
        self.headers = {"Authorization": f"Token {found.group(1)}"}
        self.path = "/api/v1/decision/"
        self.body = {
            "publisher": "bench",
            "placements": [{"div_id": "home", "ad_type": "bench"}],
            "keywords": ["home", "trays"],
            "user_ua": BROWSER,
        }
        self.server = None

    def tables(self, manage):
        """A fresh database with its tables, copied from one that is kept: its migrations take a minute."""
        kept = f"bench_ethicalads_{COMMIT[:8]}"
        if not psql("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{kept}'"):
            (self.code / "assets" / "dist").mkdir(parents=True, exist_ok=True)
            database("bench_ethicalads")
            # On a fresh Postgres its migration adserver_auth.0011 adds a constraint that is there already: it is only noted as done.
            for step in (["adserver"], ["adserver_auth", "0010"], ["adserver_auth", "0011", "--fake"], []):
                sh(*manage, "migrate", "-v0", *step, cwd=self.code, env=self.env)
            sh(*manage, "collectstatic", "--noinput", "-v0", cwd=self.code, env=self.env)
            psql("postgres", f"ALTER DATABASE bench_ethicalads RENAME TO {kept}")
        database("bench_ethicalads", kept)

    def start(self, workers):
        if self.server:
            self.servers.stop(self.server)
        command = [self.venv / "bin" / "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{self.port}", "--workers", workers]
        self.server = self.servers.start("ethicalads", command, self.env, self.code, listens(self.port))
        assert self.decide()["link"], "it answers with an ad"

    def decide(self):
        return call(self.url + self.path, self.body, self.headers)

    def view(self, decision):
        call(re.sub(r"^https?://[^/]+", self.url, decision["view_url"]))

    def views_counted(self):
        return int(psql("bench_ethicalads", "SELECT COALESCE(SUM(views), 0) FROM adserver_adimpression"))


# --- Marquee --------------------------------------------------------------------------------------------------------------------------------


class Marquee:
    name = "Marquee"

    def __init__(self, servers, folder):
        self.servers, self.port = servers, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.binary = folder / "marquee"
        shutil.copy2(MARQUEE, self.binary)
        self.env = os.environ | {
            "MARQUEE_DATABASE__URL": database("bench_marquee"),
            "MARQUEE_SERVER__BIND": f"127.0.0.1:{self.port}",
            "MARQUEE_SERVER__PUBLIC_URL": self.url,
            "MARQUEE_LOG__LEVEL": "warn",
        }
        self.folder = folder
        manage, serve = (self.key(scope) for scope in ("manage", "serve"))
        self.headers = {"Authorization": f"Bearer {serve}"}
        self.path = "/v1/decisions"
        self.body = {"placements": ["home"], "context": {"keywords": ["home", "trays"], "device": "desktop"}}
        self.server = None
        self.start(2, ready=False)
        self.world({"Authorization": f"Bearer {manage}"})

    def marquee(self, *arguments):
        return sh(self.binary, *arguments, env=self.env, cwd=self.folder)

    def key(self, scope):
        return self.marquee("key", "create", "bench", "--scope", scope).strip().splitlines()[-1]

    def world(self, headers):
        """One placement, one campaign, 50 products with a banner each, 50 priced line items with a budget; everything over the public API."""
        post = lambda path, body: call(self.url + path, body, headers)
        products = [
            {
                "sku": f"S{n}",
                "title": f"Walnut tray {n}",
                "description": "A tray for every table.",
                "category_path": "Home > Trays",
                "price": {"minor": 1250 + n, "currency": "EUR"},
                "stock": 500,
                "url": f"https://shop.example.com/p/{n}",
            }
            for n in range(ITEMS)
        ]
        post("/v1/products", {"products": products})
        post("/v1/people", {"external_id": "u1", "email": "u1@example.test", "email_consent": "subscribed"})
        post("/v1/placements", {"key": "home", "name": "Home", "width": 300, "height": 250})
        segment = post("/v1/segments", {"key": "all", "name": "All", "rule": {"type": "everyone"}})
        at = (datetime.now(timezone.utc) + timedelta(seconds=2)).isoformat()
        plan = {
            "channel": "banner",
            "segment": segment["id"],
            "schedule": {"kind": "once", "at": at},
            "placements": ["home"],
            "holdout_bp": 0,
        }
        campaign = post("/v1/campaigns", {"name": "Bench", "plan": plan})["id"]
        post(f"/v1/campaigns/{campaign}/schedule", {})
        for n in range(ITEMS):
            item = {
                "campaign": campaign,
                "placement": "home",
                "name": f"Item {n}",
                "budget_kind": "impressions",
                "budget": 100_000_000,
                "pacing": "fast",
                "price_kind": "cpm",
                "price_minor": 250,
                "targeting": {"keywords": ["trays"]} if n % 3 == 0 else {},
            }
            post("/v1/line-items", item)
        time.sleep(2.5)
        for job in ("campaign.tick", "adserver.prepare"):
            self.marquee("jobs", "run", job)

    def start(self, workers, ready=True):
        if self.server:
            self.servers.stop(self.server)
        env = self.env | {"MARQUEE_SERVER__THREADS": str(workers)}
        self.server = self.servers.start("marquee", [self.binary, "serve", "--no-work"], env, self.folder, listens(self.port))
        if ready:
            shown = self.decide()
            assert shown["filled"] and shown["line_item_id"], f"it answers with a banner of a line item: {shown}"

    def decide(self):
        return call(self.url + self.path, self.body, self.headers)["decisions"][0]

    def view(self, decision):
        call(decision["viewable_url"])

    def views_counted(self):
        return int(psql("bench_marquee", "SELECT CAST(COALESCE(SUM(viewable), 0) AS BIGINT) FROM ad_total"))


# --- Measuring ------------------------------------------------------------------------------------------------------------------------------


def load(peer, folder, requests, connections):
    """ab's requests per second, and p50 and p99 in milliseconds. An answer that is no 2xx ends the run."""
    body, table = folder / f"{peer.name}.json", folder / f"{peer.name}.csv"
    body.write_text(json.dumps(peer.body))
    command = ["ab", "-q", "-l", "-k", "-n", requests, "-c", connections, "-p", body, "-T", "application/json", "-e", table]
    for name, value in peer.headers.items():
        command += ["-H", f"{name}: {value}"]
    said = sh(*command, peer.url + peer.path)
    if re.search(r"Non-2xx responses:\s+[1-9]", said) or re.search(r"Failed requests:\s+[1-9]", said):
        sys.exit(f"{peer.name}: {said}")
    rate = float(re.search(r"Requests per second:\s+([\d.]+)", said).group(1))
    percentiles = dict(line.split(",") for line in table.read_text().splitlines()[1:])
    return rate, float(percentiles["50"]), float(percentiles["99"])


def identical_views(peer, decisions=10, at_once=8):
    """Views counted for ten decisions whose view address is called eight times at once."""
    before = peer.views_counted()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for decision in [peer.decide() for _ in range(decisions)]:
            list(pool.map(peer.view, [decision] * at_once))
    return peer.views_counted() - before


def middle(rows, at):
    return statistics.median(row[at] for row in rows)


def main():
    for tool, package in (("ab", "apache2-utils"), ("psql", "postgresql-client"), ("git", "git")):
        if not shutil.which(tool):
            skip(f"{tool} is not here (apt-get install {package})")
    if not MARQUEE.exists():
        skip(f"there is no {MARQUEE}: make build (or MARQUEE=path)")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        servers = Servers(folder)
        try:
            measure(servers, folder)
        finally:
            servers.stop_all()
            for database in ("bench_ethicalads", "bench_marquee"):
                psql("postgres", f"DROP DATABASE IF EXISTS {database}")


def measure(servers, folder):
    peers = [Ethical(servers), Marquee(servers, folder)]
    ethical, marquee = peers
    for peer in peers:
        peer.start(1)
        load(peer, folder, 40, CONNECTIONS)
    rounds = [[(load(peer, folder, REQUESTS, CONNECTIONS), load(peer, folder, REQUESTS // 4, 1)) for peer in peers] for _ in range(ROUNDS)]
    long = [load(marquee, folder, REQUESTS * 200, CONNECTIONS) for _ in range(ROUNDS)]
    print(f"{ITEMS} line items, one placement, one worker each, Postgres, {CONNECTIONS} connections (alone: 1), {ROUNDS} rounds")
    print(f"{'':<28}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'alone p50':>11}{'alone p99':>11}")
    for at, peer in enumerate(peers):
        busy, alone = [r[at][0] for r in rounds], [r[at][1] for r in rounds]
        print(f"{peer.name + f', {REQUESTS} requests':<28}{middle(busy, 0):>12.1f}{middle(busy, 1):>10.2f}{middle(busy, 2):>10.2f}"
              f"{middle(alone, 1):>11.2f}{middle(alone, 2):>11.2f}")
    print(f"{f'Marquee, {REQUESTS * 200} requests':<28}{middle(long, 0):>12.1f}{middle(long, 1):>10.2f}{middle(long, 2):>10.2f}")
    ratios = sorted(r[1][0][0] / r[0][0][0] for r in rounds)
    waits = sorted(r[0][1][1] / r[1][1][1] for r in rounds)
    longer = sorted(long[n][0] / rounds[n][0][0][0] for n in range(ROUNDS))
    print(f"ratio of requests/s: {statistics.median(ratios):.0f} ({ratios[0]:.0f}–{ratios[-1]:.0f}); "
          f"with Marquee's long run {statistics.median(longer):.0f} ({longer[0]:.0f}–{longer[-1]:.0f}); "
          f"of the p50 of one caller alone: {statistics.median(waits):.0f} ({waits[0]:.0f}–{waits[-1]:.0f})")
    for peer in peers:
        peer.start(4)
        print(f"{peer.name}: 10 decisions, each view address called 8 times at once by 4 workers: {identical_views(peer)} views counted")


if __name__ == "__main__":
    main()
