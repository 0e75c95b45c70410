"""Prints which Python, Globus SDK and requests these are."""
import platform

import globus_sdk
import requests

print(f"globus-sdk {globus_sdk.__version__} (Python {platform.python_version()})")
print(f"requests {requests.__version__} (Python {platform.python_version()})")
