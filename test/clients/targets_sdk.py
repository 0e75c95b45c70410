"""Asks for paths and queries that are hard to carry; the answers do not matter."""
import globus_sdk
import transfer_client

tc = transfer_client.new()
asks = [
    ("/endpoint/a b/x:y/ü(1)", {}),
    ("/operation/endpoint/é:ü/ls", {"path": "/~/größe.csv/"}),
    ("/endpoint_search", {"filter_scope": "my-endpoints", "filter_fulltext": "a+b;c%d/e&f=g"}),
    ("/task_list", {"filter": "type:TRANSFER,DELETE", "orderby": "request_time DESC"}),
]
for path, query in asks:
    # SDK 3 puts /v0.10 before what it is given, SDK 4 leaves that to the caller.
    if not globus_sdk.__version__.startswith("3."):
        path = "/v0.10" + path
    try:
        tc.get(path, query_params=query)
    except globus_sdk.GlobusAPIError:
        pass
