"""Does by hand what authorizers do: gets tokens, asks about one, revokes it, uses it."""
import os

import globus_sdk

TRANSFER = "urn:globus:auth:scope:transfer.api.globus.org:all"
FLOWS = "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/view_flows"

client = globus_sdk.ConfidentialAppAuthClient(os.environ["CLIENT_ID"], "one of long ago")
answer = client.oauth2_client_credentials_tokens(["openid", "email", TRANSFER, FLOWS])
for server, token in sorted(answer.by_resource_server.items()):
    print(server, token["access_token"], token["scope"], token["expires_at_seconds"] > 0)
print(len(answer["other_tokens"]), "other", "id_token" in answer)

token = answer.by_resource_server["transfer.api.globus.org"]["access_token"]
if globus_sdk.__version__.startswith("3."):
    print("validate", client.oauth2_validate_token(token)["active"])
about = client.oauth2_token_introspect(token)
print("introspect", about["active"], about["sub"], about["scope"])
print("revoke", client.oauth2_revoke_token(token)["active"])

tc = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer(token))
for endpoint in tc.endpoint_search(filter_scope="my-endpoints"):
    print(endpoint["id"])
