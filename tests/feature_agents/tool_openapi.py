"""Takes its tool from an OpenAPI document, whose service refuses connections."""

from _scripted import call, scripted
from google.adk.tools.openapi_tool import OpenAPIToolset

DOCUMENT = {
    "openapi": "3.0.0",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "http://127.0.0.1:9"}],
    "paths": {
        "/price/{item}": {
            "get": {
                "operationId": "get_price",
                "parameters": [
                    {"name": "item", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": {"200": {"description": "the price"}},
            }
        }
    },
}
shop = OpenAPIToolset(spec_dict=DOCUMENT, allow_private_network_access=True)
root_agent = scripted([call("get_price", item="tea")], "The shop is closed.", tools=[shop])
