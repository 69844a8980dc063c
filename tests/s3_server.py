"""An S3 server for tests: moto's, with signatures checked, requests counted, and faults on demand.

    s3_server.py DIRECTORY

listens on a port of its own on loopback and writes it to DIRECTORY/port. Every request is appended to DIRECTORY/requests
as JSON. Before each one DIRECTORY/faults is read: JSON, a list of rules that are used up one after the other,

    {"method": "PUT", "match": "register$", "query": "uploadId", "do": "lose", "times": 1}

and what they may do is in `Faults`. DIRECTORY/mode says how conditional writes are treated: "atomic" (the default, one after
the other), "ignored", "refused", "racy". While there is DIRECTORY/keeps, an object that is locked can't be removed or hidden,
as in a store without versions. There is a bucket, `backups`, and one whose objects can be locked, `locked`.
"""

import datetime
import hashlib
import io
import itertools
import json
import re
import socket
import sys
import threading
import time
from pathlib import Path

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEYS = {"test-access": "test-secret", "AKIAROLE": "role-secret"}
PLACE = Path(sys.argv[1])
LOCK = threading.Lock()
ONE_BY_ONE = threading.Lock()
TOKENS = itertools.count()


def error(status, code, message, extra=""):
    text = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return status, [("Content-Type", "application/xml")], text.encode()


class Lost(Exception):
    """The client gets no answer."""


class Signed:
    """What botocore would sign, compared with what was signed."""

    @staticmethod
    def problem(environ, body):
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        parts = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if not parts:
            return error("403 Forbidden", "AccessDenied", "no signature")
        access, _, region, names, signature = parts.groups()
        if access not in KEYS:
            return error("403 Forbidden", "InvalidAccessKeyId", "unknown key")
        if headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            return error("400 Bad Request", "XAmzContentSHA256Mismatch", "the body is another one")
        names = names.split(";")
        unsigned = [name for name in headers if name.startswith("x-amz-") and name not in names]
        if unsigned or "host" not in names:
            return error("403 Forbidden", "AccessDenied", f"not signed: {unsigned}")
        path = environ.get("RAW_URI") or environ["REQUEST_URI"]
        request = AWSRequest(method=environ["REQUEST_METHOD"], url=f"http://{headers['host']}{path}")
        for name in names:
            if name != "host":
                request.headers[name] = headers[name]
        request.context["timestamp"] = headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(access, KEYS[access]), "s3", region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if expected != signature:
            return error("403 Forbidden", "SignatureDoesNotMatch", "another signature is expected")
        return None


FOR_EVER = 1_000_000_000  # as often as a rule says that is to go wrong until the test says otherwise


class Faults:
    """What goes wrong, as the test wants it."""

    @staticmethod
    def take(method, path, query):
        """The first rule that fits and is not used up."""
        file = PLACE / "faults"
        with LOCK:
            rules = json.loads(file.read_text()) if file.exists() else []
            for rule in rules:
                fits = rule.get("method", method) == method and re.search(rule.get("match", ""), path)
                if fits and re.search(rule.get("query", ""), query) and rule.get("times", 1) > 0:
                    if rule.get("times", 1) < FOR_EVER:
                        # What ends by the test's word is not written: that word may come meanwhile.
                        rule["times"] = rule.get("times", 1) - 1
                        new = PLACE / "faults.new"
                        new.write_text(json.dumps(rules))
                        new.rename(file)
                    return rule
        return None

    @staticmethod
    def before(rule):
        """An answer, or nothing: the request is executed."""
        match rule["do"]:
            case "reset":
                raise Lost
            case "status":
                extra = "".join(f"<{name}>{value}</{name}>" for name, value in rule.get("elements", {}).items())
                status, headers, body = error(rule["status"], rule["code"], rule.get("message", "as the test wants it"), extra)
                return status, headers + list(rule.get("headers", {}).items()), body
            case "error-inside":
                return error("200 OK", rule["code"], "as the test wants it")
            case "html":
                return "200 OK", [("Content-Type", "text/html")], b"<html><body>a gateway</body></html>"
        return None

    @staticmethod
    def after(rule, answer):
        """The answer that is sent instead."""
        status, headers, body = answer
        match rule["do"]:
            case "lose":
                raise Lost
            case "error-inside-after":
                return error("200 OK", rule["code"], "as the test wants it")
            case "cut":
                return status, headers, body[: len(body) // 2]
        return answer


class Server:
    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)

    def execute(self, environ, body):
        environ = dict(environ, **{"wsgi.input": io.BytesIO(body)})
        said = {}

        def start(status, headers, _=None):
            said.update(status=status, headers=headers)

        answer = b"".join(self.moto(environ, start))
        return said["status"], said["headers"], answer

    def conditional(self, environ, body):
        mode = PLACE / "mode"
        mode = mode.read_text().strip() if mode.exists() else "atomic"
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self.execute(environ, body)
        if mode == "refused":
            return error("501 Not Implemented", "NotImplemented", "A header you provided implies functionality that is not implemented.")
        if mode in ("ignored", "racy"):
            other = {name: value for name, value in environ.items() if name != "HTTP_IF_NONE_MATCH"}
            if mode == "ignored":
                return self.execute(other, body)
            # Each looks, and then each writes.
            looked = dict(other, REQUEST_METHOD="HEAD", CONTENT_LENGTH="0")
            there = self.execute(looked, b"")[0].startswith("200")
            time.sleep(0.02)
            if there:
                return error("412 Precondition Failed", "PreconditionFailed", "it is there")
            return self.execute(other, body)
        with ONE_BY_ONE:
            return self.execute(environ, body)

    def keeps(self, environ):
        """A refusal, if a locked object is to be removed and the store keeps it."""
        if environ["REQUEST_METHOD"] != "DELETE" or not (PLACE / "keeps").exists():
            return None
        _, headers, _ = self.execute(dict(environ, REQUEST_METHOD="HEAD", CONTENT_LENGTH="0"), b"")
        until = {name.lower(): value for name, value in headers}.get("x-amz-object-lock-retain-until-date")
        if until and datetime.datetime.fromisoformat(until) > datetime.datetime.now(datetime.timezone.utc):
            return error("403 Forbidden", "AccessDenied", "Access Denied")
        return None

    def answer(self, environ):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        if path.startswith("/latest/") or path.startswith("/container"):
            return metadata(environ)
        if path.startswith("/moto-api/"):
            return self.execute(environ, body)
        rule = Faults.take(method, path, query)
        with LOCK, (PLACE / "requests").open("a") as log:
            said = {"method": method, "path": path, "query": query, "bytes": len(body), "fault": rule and rule["do"]}
            said["headers"] = {name[5:].lower(): value for name, value in environ.items() if name.startswith("HTTP_X_AMZ") or name.startswith("HTTP_IF")}
            log.write(json.dumps(said) + "\n")
        if rule and rule["do"] == "garble":
            body = body[:-1] + bytes([body[-1] ^ 1])
        problem = Signed.problem(environ, body)
        if problem:
            return problem
        answer = Faults.before(rule) if rule else self.keeps(environ)
        if answer is None:
            answer = self.conditional(environ, body)
            if rule:
                answer = Faults.after(rule, answer)
        return answer

    def __call__(self, environ, start_response):
        try:
            status, headers, body = self.answer(environ)
        except Lost:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError("lost as the test wants it") from None
        hidden = ["connection"] + ["x-amz-version-id"] * (PLACE / "keeps").exists()
        start_response(status, [(name, value) for name, value in headers if name.lower() not in hidden])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def metadata(environ):
    """The services that give credentials to machines and containers."""
    plain = [("Content-Type", "text/plain")]
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    keys = json.dumps(
        {
            "AccessKeyId": "AKIAROLE",
            "SecretAccessKey": "role-secret",
            "Token": f"role-token-{next(TOKENS)}",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ).encode()
    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "GET", "/container" if environ.get("HTTP_AUTHORIZATION") == "container-token":
            return "200 OK", plain, keys
        case "PUT", "/latest/api/token" if environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS"):
            return "200 OK", plain, b"talk"
        case "GET", path if environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") != "talk":
            return "401 Unauthorized", plain, b""
        case "GET", "/latest/meta-data/iam/security-credentials/":
            return "200 OK", plain, b"backup"
        case "GET", "/latest/meta-data/iam/security-credentials/backup":
            return "200 OK", plain, keys
    return "404 Not Found", plain, b""


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_response(self, code, message=None):
        # Without a date: the answer may have one of its own.
        self.send_response_only(code, message)

    def log(self, *_):
        pass


def main():
    server = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    backend = s3_backends["123456789012"]["aws"]
    backend.create_bucket("backups", "us-east-1")
    backend.create_bucket("locked", "us-east-1")
    backend.put_bucket_versioning("locked", "Enabled")
    backend.get_bucket("locked").object_lock_enabled = True
    new = PLACE / "port.new"
    new.write_text(str(server.port))
    new.rename(PLACE / "port")
    server.serve_forever()


main()
