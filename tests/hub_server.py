"""A Hub in one process: what `huggingface_hub` asks of huggingface.co for datasets, with scripted faults. The standard library alone.

    python -m tests.hub_server     prints two lines, its endpoint and that of its store of large files, and stays

It conforms to the client (1.30 to 2.x), read off its source and driven by it; it proves nothing of huggingface.co. Large files are served
from another host name, as there: the client drops its token on the way. `POST /_control` scripts it:

    {"do": "reset"}                                         forget all repositories, faults and the log
    {"do": "fault", "method": "GET", "path": regex, "store": bool, "times": n, "kind": kind, ...}
        kind "status": {"status": 503, "headers": {}}; "flip": one bit of the body; "cut": a short body that says so; "drop": the
        connection breaks after `after` bytes; "hang": no answer for `seconds`
    {"do": "clear"}                                         no more faults
    {"do": "tag", "repo", "tag", "commit"}                  move a tag behind everybody's back
    {"do": "set", "repo", "private": bool, "gated": bool}   {"do": "user", "token", "name" or null}
    {"do": "touch", "repo", "path", "text"}                 somebody else commits
    {"do": "log"}                                           requests since the last reset, {"repo": ...} the state of a repository
"""

import base64
import hashlib
import json
import re
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = re.compile(r"\.(parquet|arrow|bin|safetensors|zst|gz|zip|npz)$")
USERS = {"hf_alice_token": "alice", "hf_bob_token": "bob", "hf_official_token": "dft-stats"}
READ_ONLY = {"hf_reader_token": "alice"}
REPO = r"([^/]+/[^/]+)"


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(frozen=True)
class File:
    blob: str
    size: int
    large: str | None = None  # sha256

    def item(self, path: str) -> dict[str, Any]:
        item: dict[str, Any] = {"type": "file", "oid": self.blob, "size": self.size, "path": path}
        return item | ({"lfs": {"oid": self.large, "size": self.size, "pointerSize": 130}} if self.large else {})


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    files: dict[str, File]
    title: str
    author: str
    date: str = field(default_factory=now)


@dataclass
class Repo:
    id: str
    private: bool
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def commit(self, files: dict[str, File], title: str, author: str) -> str:
        seed = json.dumps([self.id, self.head, title, sorted((path, file.blob) for path, file in files.items()), time.time_ns()])
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = Commit(sha, self.head or None, files, title, author)
        self.head = sha
        return sha


@dataclass
class State:
    hub: str = ""
    store: str = ""
    users: dict[str, str] = field(default_factory=lambda: dict(USERS))
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)  # by git's hash
    large: dict[str, bytes] = field(default_factory=dict)  # by sha256
    faults: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


STATE = State()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart
    is_store = False

    def log_message(self, *args: Any) -> None:
        pass

    def handle_one(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.query, self.body = urllib.parse.parse_qs(url.query, keep_blank_values=True), self.read_body()
        if url.path == "/_control":
            self.control(json.loads(self.body))
            return
        token = self.headers.get("Authorization")
        with STATE.lock:
            STATE.log.append(
                {"store": self.is_store, "method": self.command, "path": self.path, "range": self.headers.get("Range"), "token": token}
            )
            self.fault = next((fault for fault in STATE.faults if self.matches(fault)), None)
            if self.fault is not None:
                self.fault["times"] -= 1
        if self.fault and self.fault["kind"] == "hang":
            time.sleep(self.fault["seconds"])
        if self.fault and self.fault["kind"] == "status":
            headers = self.fault.get("headers") or {}
            self.answer(self.fault["status"], {"error": "fault"}, headers)
            return
        try:
            if self.is_store:
                self.serve_store(url.path)
            else:
                self.serve_hub(url.path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815

    def matches(self, fault: dict[str, Any]) -> bool:
        return (
            fault["times"] > 0
            and fault.get("method", self.command) == self.command
            and fault.get("store", self.is_store) == self.is_store
            and bool(re.search(fault.get("path", ""), self.path))
        )

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status: int, value: Any = b"", headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = self.fault["kind"] if getattr(self, "fault", None) else ""
        headers = dict(headers or {})
        if kind == "flip" and data:
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        if kind == "cut":
            data = data[: len(data) // 2]
            headers.pop("Content-Length", None)
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if "Content-Type" not in headers:
            self.send_header("Content-Type", "application/json" if not isinstance(value, bytes) else "application/octet-stream")
        if status != 204 and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD" or status == 204:
            return
        if kind == "drop":
            self.wfile.write(data[: int(self.fault.get("after", 1000))])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(data)

    def refuse(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        given = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.answer(status, {"error": message}, given)

    def send_bytes(self, data: bytes, headers: dict[str, str]) -> None:
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if found:
            first = max(len(data) - int(found[2]), 0) if not found[1] else int(found[1])
            last = len(data) - 1 if not found[1] or not found[2] else min(int(found[2]), len(data) - 1)
            if first >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            else:
                self.answer(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})
            return
        self.answer(200, data, headers | ({"Content-Length": str(len(data))} if self.command == "HEAD" else {}))

    # ---- the store of large files, which asks nobody who they are

    def serve_store(self, path: str) -> None:
        digest = path.rpartition("/")[2]
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != digest:
                self.answer(400, {"error": "BadDigest"})
                return
            STATE.large[digest] = self.body
            self.answer(200, b"", {"ETag": f'"{digest}"'})
        elif digest in STATE.large:
            self.send_bytes(STATE.large[digest], {"ETag": f'"{digest}"'})
        else:
            self.answer(404)

    # ---- the Hub

    def who(self) -> str | bool | None:
        """The user's name; None of nobody, False of a bad token."""
        given = self.headers.get("Authorization")
        if given is None:
            return None
        token = given.removeprefix("Bearer ")
        return STATE.users.get(token) or READ_ONLY.get(token) or False

    def may_write(self, owner: str) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return STATE.users.get(token) == owner

    def find(self, name: str, *, write: bool = False) -> Repo | None:
        """A repository, if it may be seen; else the answer is sent."""
        who, repo, owner = self.who(), STATE.repos.get(name), name.split("/")[0]
        if who is False:
            self.refuse(401, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and who != owner):
            self.refuse(404 if who else 401, "Repository not found" if who else "Invalid username or password.", "RepoNotFound")
        elif write and not self.may_write(owner):
            self.refuse(403 if who else 401, "You have no right to write here")
        else:
            return repo
        return None

    def commit_of(self, repo: Repo, revision: str) -> Commit | None:
        revision = urllib.parse.unquote(revision)
        sha = repo.tags.get(revision.removeprefix("refs/tags/")) or (repo.head if revision in ("main", "refs/heads/main") else revision)
        if sha in repo.commits:
            return repo.commits[sha]
        self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return None

    def serve_hub(self, path: str) -> None:
        who = self.who()
        if path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif path == "/api/whoami-v2":
            self.answer(200, {"type": "user", "name": who, "orgs": []}) if who else self.refuse(
                401, "Invalid credentials in Authorization header"
            )
        elif path == "/api/repos/create":
            self.create(json.loads(self.body), who)
        elif found := re.fullmatch(rf"/datasets/{REPO}\.git/info/lfs/objects/(batch|verify)", path):
            if self.find(found[1], write=True):
                self.large_files(found[1], found[2], json.loads(self.body))
        elif found := re.fullmatch(rf"/datasets/{REPO}/resolve/([^/]+)/(.+)", path):
            self.resolve(*found.groups())
        elif found := re.fullmatch(rf"/api/datasets/{REPO}(?:/(.*))?", path):
            self.api(found[1], found[2] or "")
        else:
            self.refuse(404, "Not Found")

    def create(self, given: dict[str, Any], who: Any) -> None:
        owner = given.get("organization") or who
        name = f"{owner}/{given['name']}"
        address = {"url": f"{STATE.hub}/datasets/{name}", "id": name, "name": name}
        if not who:
            self.refuse(401, "Invalid credentials in Authorization header")
        elif not self.may_write(owner):
            self.refuse(403, f"You don't have the rights to create a dataset under the namespace {owner}")
        elif name in STATE.repos:
            self.answer(409, {"error": "You already created this dataset repo", **address})
        else:
            attributes = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
            STATE.blobs[git_sha1(attributes)] = attributes
            repo = Repo(name, given.get("visibility") == "private" or bool(given.get("private")))
            repo.commit({".gitattributes": File(git_sha1(attributes), len(attributes))}, "initial commit", str(who))
            STATE.repos[name] = repo
            self.answer(200, address)

    def large_files(self, name: str, verb: str, given: dict[str, Any]) -> None:
        if verb == "verify":
            self.answer(200 if given["oid"] in STATE.large else 404, {})
            return
        verify = f"{STATE.hub}/datasets/{name}.git/info/lfs/objects/verify"
        objects = [
            {"oid": item["oid"], "size": item["size"]}
            | (
                {}
                if item["oid"] in STATE.large
                else {"actions": {"upload": {"href": f"{STATE.store}/lfs/{item['oid']}"}, "verify": {"href": verify}}}
            )
            for item in given["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.find(name)
        if repo is None:
            return
        if repo.gated and self.who() != name.split("/")[0]:
            self.refuse(403 if self.who() else 401, f"Access to dataset {name} is restricted.", "GatedRepo")
            return
        commit = self.commit_of(repo, revision)
        if commit is None:
            return
        file, headers = commit.files.get(urllib.parse.unquote(path)), {"X-Repo-Commit": commit.sha}
        if file is None:
            self.refuse(404, "Entry not found", "EntryNotFound", headers)
        elif file.large is None:
            self.send_bytes(STATE.blobs[file.blob], {**headers, "ETag": f'"{file.blob}"'})
        else:
            headers |= {"X-Linked-Etag": f'"{file.large}"', "X-Linked-Size": str(file.size), "ETag": f'"{file.large}"'}
            self.answer(302, b"", {**headers, "Location": f"{STATE.store}/lfs/{file.large}"})

    def api(self, name: str, rest: str) -> None:
        verb = rest.split("/")[0]
        if verb in ("xet-read-token", "xet-write-token"):
            self.refuse(404, "no xet here")
            return
        repo = self.find(name, write=verb in ("preupload", "commit", "tag"))
        if repo is None:
            return
        if verb in ("", "revision", "tree", "paths-info", "preupload"):
            commit = self.commit_of(repo, rest.split("/")[1] if verb else "main")
            if commit is None:
                return
            {"tree": self.tree, "paths-info": self.paths, "preupload": self.preupload}.get(verb, self.info)(repo, commit)
        elif verb == "refs":
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in repo.tags.items()]
            branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}]
            self.answer(200, {"branches": branches, "tags": tags, "converts": []})
        elif verb == "commit":
            self.receive(repo)
        elif verb == "tag":
            with repo.lock:
                tag, commit = json.loads(self.body)["tag"], self.commit_of(repo, rest.split("/")[1])
                if commit is not None and tag in repo.tags:
                    self.refuse(409, "Tag reference exists already")
                elif commit is not None:
                    repo.tags[tag] = commit.sha
                    self.answer(200, {})
        else:
            self.refuse(404, f"not implemented: {self.command} {rest}")

    def info(self, repo: Repo, commit: Commit) -> None:
        files = [{"rfilename": path} for path in sorted(commit.files)]
        facts = {
            "_id": "x",
            "id": repo.id,
            "author": repo.id.split("/")[0],
            "sha": commit.sha,
            "private": repo.private,
            "gated": repo.gated,
        }
        facts |= {"disabled": False, "downloads": 0, "likes": 0, "tags": [], "createdAt": now(), "lastModified": commit.date}
        self.answer(200, {**facts, "siblings": files, "cardData": {}})

    def tree(self, repo: Repo, commit: Commit) -> None:
        folders = {path.rpartition("/")[0] for path in commit.files} - {""}
        found = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
        self.answer(200, found + [file.item(path) for path, file in sorted(commit.files.items())])

    def paths(self, repo: Repo, commit: Commit) -> None:
        is_json = "json" in self.headers.get("Content-Type", "")
        wanted = json.loads(self.body)["paths"] if is_json else urllib.parse.parse_qs(self.body.decode()).get("paths", [])
        self.answer(200, [commit.files[path].item(path) for path in wanted if path in commit.files])

    def preupload(self, repo: Repo, commit: Commit) -> None:
        answer = []
        for given in json.loads(self.body)["files"]:
            old = commit.files.get(given["path"])
            mode = "lfs" if LARGE.search(given["path"]) or given["size"] > 10_000_000 else "regular"
            known = {"oid": old.large or old.blob} if old else {}
            answer.append({"path": given["path"], "uploadMode": mode, "shouldIgnore": False, **known})
        self.answer(200, {"files": answer})

    def receive(self, repo: Repo) -> None:
        """A commit: the parent is compared under the lock that the change is made under."""
        with repo.lock:
            files, title, parent = dict(repo.commits[repo.head].files), "", None
            for line in self.body.splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "header":
                    title, parent = value["summary"], value.get("parentCommit")
                elif item["key"] == "file":
                    data = base64.b64decode(value["content"])
                    STATE.blobs[git_sha1(data)] = data
                    files[value["path"]] = File(git_sha1(data), len(data))
                elif item["key"] == "lfsFile":
                    if value["oid"] not in STATE.large:
                        self.refuse(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                        return
                    data = STATE.large[value["oid"]]
                    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {len(data)}\n".encode()
                    files[value["path"]] = File(git_sha1(pointer), len(data), value["oid"])
                elif item["key"] == "deletedFile":
                    files.pop(value["path"])
            if parent is not None and parent != repo.head:
                self.refuse(412, "A commit has happened since. Please refresh and try again.")
                return
            sha = repo.commit(files, title, str(self.who()))
        self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{STATE.hub}/datasets/{repo.id}/commit/{sha}", "hookOutput": ""})

    # ---- what tests do behind everybody's back

    def control(self, given: dict[str, Any]) -> None:
        self.fault = None
        verb, repo = given["do"], STATE.repos.get(given.get("repo", ""))
        answer: Any = {}
        with STATE.lock:
            if verb == "reset":
                fresh = State(STATE.hub, STATE.store)
                STATE.__dict__.update({key: value for key, value in fresh.__dict__.items() if key != "lock"})
            elif verb == "fault":
                STATE.faults.append({"times": 1, **{key: value for key, value in given.items() if key != "do"}})
            elif verb == "clear":
                STATE.faults.clear()
            elif verb == "tag" and repo:
                repo.tags[given["tag"]] = given["commit"]
            elif verb == "set" and repo:
                repo.private, repo.gated = given.get("private", repo.private), given.get("gated", repo.gated)
            elif verb == "user":
                STATE.users.pop(given["token"], None)
                if given["name"]:
                    STATE.users[given["token"]] = given["name"]
            elif verb == "touch" and repo:
                data = given["text"].encode()
                STATE.blobs[git_sha1(data)] = data
                files = {**repo.commits[repo.head].files, given["path"]: File(git_sha1(data), len(data))}
                answer = {"commit": repo.commit(files, "touched", "somebody")}
            elif verb == "log":
                answer = {} if "repo" in given else STATE.log
                if repo:
                    commits = [
                        {"sha": c.sha, "parent": c.parent, "title": c.title, "files": sorted(c.files)} for c in repo.commits.values()
                    ]
                    answer = {"head": repo.head, "tags": repo.tags, "private": repo.private, "commits": commits}
        self.answer(200, answer)


class StoreHandler(Handler):
    is_store = True


def main() -> None:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Handler, StoreHandler)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    # two names of one machine: the client tells a Hub from its store by the name
    STATE.hub, STATE.store = (
        f"http://{name}:{server.server_port}" for name, server in zip(("127.0.0.1", "localhost"), servers, strict=True)
    )
    print(STATE.hub, STATE.store, sep="\n", flush=True)
    sys.stdin.read()  # until the parent goes


if __name__ == "__main__":
    main()
