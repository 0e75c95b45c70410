# The client credentials example of the Globus SDK's documentation, for SDK 4.
# Changed in two things: id and secret come from the environment, and the scopes
# are named, which SDK 4 has no default for.
import os

import globus_sdk

# you must have a client ID
CLIENT_ID = os.environ['CLIENT_ID']
# the secret, loaded from wherever you store it
CLIENT_SECRET = os.environ['CLIENT_SECRET']

client = globus_sdk.ConfidentialAppAuthClient(CLIENT_ID, CLIENT_SECRET)
token_response = client.oauth2_client_credentials_tokens([
    'openid', 'profile', 'email',
    'urn:globus:auth:scope:transfer.api.globus.org:all'])

# the useful values that you want at the end of this
globus_auth_data = token_response.by_resource_server['auth.globus.org']
globus_transfer_data = token_response.by_resource_server['transfer.api.globus.org']
globus_auth_token = globus_auth_data['access_token']
globus_transfer_token = globus_transfer_data['access_token']

authorizer = globus_sdk.AccessTokenAuthorizer(globus_transfer_token)
tc = globus_sdk.TransferClient(authorizer=authorizer)
print("Endpoints Belonging to {}@clients.auth.globus.org:"
      .format(CLIENT_ID))
for ep in tc.endpoint_search(filter_scope="my-endpoints"):
    print("[{}] {}".format(ep["id"], ep["display_name"]))
