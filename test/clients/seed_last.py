# The ClientCredentialsAuthorizer example of the Globus SDK's documentation.
# Changed in two things: id and secret come from the environment, and the loop's
# tc, which the example does not define, is read as its transfer_client.
import os

import globus_sdk

# you must have a client ID
CLIENT_ID = os.environ['CLIENT_ID']
# the secret, loaded from wherever you store it
CLIENT_SECRET = os.environ['CLIENT_SECRET']

confidential_client = globus_sdk.ConfidentialAppAuthClient(
    client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
scopes = "urn:globus:auth:scope:transfer.api.globus.org:all"
cc_authorizer = globus_sdk.ClientCredentialsAuthorizer(
    confidential_client, scopes)
# create a new client
transfer_client = globus_sdk.TransferClient(authorizer=cc_authorizer)

# usage is still the same
print("Endpoints Belonging to {}@clients.auth.globus.org:"
      .format(CLIENT_ID))
for ep in transfer_client.endpoint_search(filter_scope="my-endpoints"):
    print("[{}] {}".format(ep["id"], ep["display_name"]))
