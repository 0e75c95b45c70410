"""Submits a transfer from one endpoint to another and waits for its end."""
import sys

import globus_sdk
import transfer_client

source, destination = sys.argv[1:]
tc = transfer_client.new()
data = globus_sdk.TransferData(
    source_endpoint=source, destination_endpoint=destination, label="nightly")
data.add_item("/home/run 1/", "/archive/", recursive=True)
try:
    task_id = tc.submit_transfer(data)["task_id"]
    done = tc.task_wait(task_id, timeout=60, polling_interval=1)
    print(done, tc.get_task(task_id)["status"])
except globus_sdk.TransferAPIError as error:
    transfer_client.show(error)
