"""A TransferClient without an authorizer, for both SDKs.

BASE_URL names bearerd's prefix; without it GLOBUS_SDK_SERVICE_URL_TRANSFER does,
which the SDK itself reads. The SDK tries a request again RETRIES times, at once.
"""
import os

import globus_sdk

RETRIES = int(os.environ.get("RETRIES", "0"))


def new():
    options = {}
    if "BASE_URL" in os.environ:
        options["base_url"] = os.environ["BASE_URL"]
    if globus_sdk.__version__.startswith("3."):
        options["transport_params"] = {"max_retries": RETRIES, "max_sleep": 0}
    else:
        from globus_sdk.transport import RetryConfig

        options["retry_config"] = RetryConfig(max_retries=RETRIES, max_sleep=0)
    return globus_sdk.TransferClient(**options)


def show(error):
    """What a person sees of an error, one fact a line."""
    print(type(error).__name__)
    print(error.http_status)
    print(error.code)
    print(error.message)
