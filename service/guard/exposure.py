"""Whether an address is reachable from other machines."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Of an IP address, or of the one name that always means this machine."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
