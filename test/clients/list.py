"""Prints the ids of the service account's endpoints, or what went wrong."""
import globus_sdk
import transfer_client

try:
    for endpoint in transfer_client.new().endpoint_search(filter_scope="my-endpoints"):
        print(endpoint["id"])
except globus_sdk.GlobusAPIError as error:
    transfer_client.show(error)
