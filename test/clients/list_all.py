"""Prints the ids of all endpoints, page after page as the SDK fetches them."""
import transfer_client

tc = transfer_client.new()
for endpoint in tc.paginated.endpoint_search(filter_scope="my-endpoints").items():
    print(endpoint["id"])
