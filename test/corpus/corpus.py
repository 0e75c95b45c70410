"""Makes the corpus's requests with one of Python's clients.

Arguments: urllib, http.client or requests; BASE and FILES are in the environment,
targets and names of files beside this program.
"""
import http.client
import os
import pathlib
import sys
import urllib.parse
import urllib.request

BASE, FILES = os.environ["BASE"], os.environ["FILES"]
here = pathlib.Path(__file__).parent
targets = [BASE + line for line in (here / "targets.txt").read_text("utf-8").splitlines()]
targets += [FILES + line for line in (here / "files.txt").read_text("utf-8").splitlines()]
binary = bytes(range(256))
bodies = [b"", b"{}", b"a=b&c=d", "größe".encode(), binary, binary * 256, binary * 256 + b"x", binary * 4096]


def chunks():
    yield b"abc"
    yield binary * 300
    yield b"\r\n\r\n"


def with_urllib():
    def send(url, **more):
        urllib.request.urlopen(urllib.request.Request(url, **more), timeout=30).read()

    for target in targets:
        # urllib sends ASCII only, and no space or control.
        send(urllib.parse.quote(target, safe="%/:?#[]@!$&'()*+,;=~{}|\\^`\"<>"))
    for body in bodies:
        send(BASE + "/body", data=body, method="POST")
    send(BASE + "/body", data=chunks(), method="PUT")
    send(BASE + "/body", data=b"x", method="PATCH", headers={"Content-Type": "application/json"})
    for method in ["HEAD", "DELETE", "OPTIONS"]:
        send(BASE + "/method?x", method=method)


def with_http_client():
    parts = urllib.parse.urlsplit(BASE)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)

    def send(method, target, *args, **more):
        connection.request(method, target, *args, **more)
        connection.getresponse().read()

    root = f"{parts.scheme}://{parts.netloc}"
    for target in targets:
        # The bytes of UTF-8, each as the character of Latin-1 that it stands for here.
        connection.putrequest("GET", "/")
        connection._buffer[0] = f"GET {target.removeprefix(root)} HTTP/1.1".encode()
        connection.endheaders()
        connection.getresponse().read()
    body_target = parts.path + "/body"
    for body in bodies:
        send("POST", body_target, body)
    send("POST", body_target, chunks(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    for method in ["HEAD", "DELETE", "OPTIONS"]:
        send(method, parts.path + "/method?x")


def with_requests():
    import requests
    import urllib3

    with requests.Session() as session:
        for target in targets:
            session.get(target, timeout=30)
        session.get(BASE + "/parameters", params={"a": ["1", "2"], "ü": "a/b;c+d e&f", "empty": ""}, timeout=30)
        session.get(BASE + "/a b/ü/(1)", timeout=30)
        for body in bodies:
            session.post(BASE + "/body", data=body, timeout=30)
        session.post(BASE + "/body", data=chunks(), timeout=30)
        session.post(BASE + "/body", json={"größe": [1, None, "ü"]}, timeout=30)
        session.post(BASE + "/body", data={"a": "b c", "ü": "€"}, timeout=30)
        form, kind = urllib3.encode_multipart_formdata({"a": "ü", "f": ("größe.bin", binary)}, boundary="b")
        session.post(BASE + "/body", data=form, headers={"Content-Type": kind}, timeout=30)
        for method in ["PUT", "PATCH", "DELETE"]:
            session.request(method, BASE + "/method?x", data=b"x", timeout=30)
        for method in ["HEAD", "DELETE", "OPTIONS"]:
            session.request(method, BASE + "/method?x", timeout=30)


{"urllib": with_urllib, "http.client": with_http_client, "requests": with_requests}[sys.argv[1]]()
