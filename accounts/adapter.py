"""Where Parley's accounts differ from allauth's defaults."""

import unicodedata

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    def clean_username(self, username: str, shallow: bool = False) -> str:
        """Names are compared as the database stores them: NFKC, without regard to case."""
        cleaned: str = super().clean_username(unicodedata.normalize("NFKC", username), shallow)
        return cleaned
