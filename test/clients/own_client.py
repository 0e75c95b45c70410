"""Submits a transfer and waits for it, by an app or an authorizer of its own.

SECRET is the client's; PROTOCOL is app or authorizer. An authorizer starts with
TOKEN if there is one, as scripts do that keep theirs between runs.
"""
import os
import sys
import time

import globus_sdk
import transfer_client

SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"

source, destination = sys.argv[1:]
client = globus_sdk.ConfidentialAppAuthClient(os.environ["CLIENT_ID"], os.environ["SECRET"])
try:
    if os.environ["PROTOCOL"] == "app":
        app = globus_sdk.ClientApp(
            "nightly", login_client=client, config=globus_sdk.GlobusAppConfig(token_storage="memory"))
        tc = globus_sdk.TransferClient(app=app)
    else:
        kept = {}
        if "TOKEN" in os.environ:
            kept = {"access_token": os.environ["TOKEN"], "expires_at": int(time.time()) + 86400}
        tc = globus_sdk.TransferClient(authorizer=globus_sdk.ClientCredentialsAuthorizer(client, SCOPE, **kept))
    for endpoint in tc.endpoint_search(filter_scope="my-endpoints"):
        print(endpoint["id"])
    data = globus_sdk.TransferData(source_endpoint=source, destination_endpoint=destination)
    data.add_item("/home/run 1/", "/archive/", recursive=True)
    task_id = tc.submit_transfer(data)["task_id"]
    print(tc.task_wait(task_id, timeout=60, polling_interval=1), tc.get_task(task_id)["status"])
    if os.environ["PROTOCOL"] == "app":
        app.logout()
except globus_sdk.GlobusAPIError as error:
    transfer_client.show(error)
