"""Needs the user's sign-in at another service."""

from _scripted import call, scripted
from fastapi.openapi.models import OAuth2, OAuthFlowAuthorizationCode, OAuthFlows
from google.adk.auth import AuthConfig, AuthCredential, AuthCredentialTypes
from google.adk.auth.auth_credential import OAuth2Auth
from google.adk.tools import ToolContext

flow = OAuthFlowAuthorizationCode(
    authorizationUrl="https://login.example/authorize",
    tokenUrl="https://login.example/token",
    scopes={"read": "read"},
)
config = AuthConfig(
    auth_scheme=OAuth2(flows=OAuthFlows(authorizationCode=flow)),
    raw_auth_credential=AuthCredential(
        auth_type=AuthCredentialTypes.OAUTH2,
        oauth2=OAuth2Auth(
            client_id="parley", client_secret="kept-from-all", redirect_uri="https://chat.example/"
        ),
    ),
)


def read_calendar(tool_context: ToolContext) -> dict:
    """Reads the calendar."""
    tool_context.request_credential(config)
    return {"status": "a sign-in is needed"}


root_agent = scripted([call("read_calendar")], "Please sign in.", tools=[read_calendar])
