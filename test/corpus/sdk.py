"""Makes requests with the Globus SDK, for BASE. Their answers do not matter."""
import os

import globus_sdk

tc = globus_sdk.TransferClient(base_url=os.environ["BASE"])
tc.endpoint_search(filter_scope="my-endpoints", filter_fulltext="a+b;c%d/e&f=ü").get("DATA")
tc.operation_ls("0b6a9f6e-7d0c-4c1f-9c0e-6a1c2b5d4e3f", path="/~/größe.csv/", show_hidden=True)
tc.get_task("0b6a9f6e-7d0c-4c1f-9c0e-6a1c2b5d4e3f")
tc.get("/a b/x:y/ü(1)", query_params={"filter": "type:TRANSFER,DELETE", "orderby": "request_time DESC"})
tc.post("/transfer", data={"DATA_TYPE": "transfer", "DATA": [{"source_path": "/größe"}]})
tc.post("/form", data={"a": "b c", "ü": "€"}, encoding="form")
tc.post("/text", data="größe", encoding="text")
tc.put("/endpoint/x", data={"display_name": "ü"})
tc.patch("/endpoint/x", data={})
tc.delete("/endpoint/x")
