"""A script whose token somebody pasted in long ago."""
import os

import requests

answer = requests.get(
    os.environ["BASE_URL"] + "/v0.10/endpoint_search",
    params={"filter_scope": "my-endpoints"},
    headers={"Authorization": "Bearer stale"},
    timeout=30,
)
answer.raise_for_status()
for endpoint in answer.json()["DATA"]:
    print(endpoint["id"])
