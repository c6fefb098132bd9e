from accounts.client_address import client_address

__all__ = ["client_address"]  # moved to accounts; chat still imports it from here
