"""Asks for paths and queries that are hard to carry; the answers do not matter."""
import os

import requests

base = os.environ["BASE_URL"]
for target in [
    "/v0.10/endpoint/a%20b/x:y/%C3%BC",
    "/v0.10/endpoint/ü b/x;y=1",
    "/v0.10/operation/endpoint/x/ls?path=%2F~%2Fa+b%2F%C3%BC%2B%25",
    "/v0.10/operation/endpoint/x/ls?path=/~/ü;b&c=a+b&&d",
    "/v0.10/task_list?",
    "/v0.10/task_list?limit=1&limit=2&filter=status%3AACTIVE%2CINACTIVE",
]:
    requests.get(base + target, timeout=30)
requests.get(base + "/v0.10/task_list", params={"filter": "a/b;c+d ü&e"}, timeout=30)
