"""Certificates: checked before anything listens, or made for development."""

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

DAYS = 365
NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")


class BadCertificate(ValueError):
    """One line about files that TLS cannot be served with."""


def check(cert: Path, key: Path) -> None:
    """Raises BadCertificate unless both files can be read and belong together."""
    for path in (cert, key):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise BadCertificate(f"cannot read {path}: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # OpenSSL would ask the terminal for the passphrase of an encrypted key, and wait.
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except _Encrypted:
        raise BadCertificate(f"{key} is encrypted; a server needs it without passphrase") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate(f"{key} is not the key of {cert}") from None
        raise BadCertificate(f"{cert} and {key} are not a certificate and its key in PEM") from None


class _Encrypted(Exception):
    pass


def _no_passphrase() -> str:
    raise _Encrypted


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key for localhost, 127.0.0.1 and ::1: those of an earlier start while they
    hold for another day, else new ones. The key is its owner's alone. Raises OSError."""
    cert, key = folder / "localhost.crt", folder / "localhost.key"
    if not _still_good(cert, key):
        folder.mkdir(parents=True, exist_ok=True)
        cert_pem, key_pem = _make()
        _write(key, key_pem, 0o600)
        _write(cert, cert_pem, 0o644)
        check(cert, key)
    return cert, key


def _still_good(cert: Path, key: Path) -> bool:
    from cryptography import x509

    try:
        check(cert, key)
        until = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc
    except (BadCertificate, OSError, ValueError):
        return False
    return until - _now() > datetime.timedelta(days=1)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all; never readable by others before its mode says so."""
    part = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _make() -> tuple[bytes, bytes]:
    """A certificate that vouches for itself and for nothing else (it is no authority)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pollux on localhost")])
    places = [
        *(x509.DNSName(name) for name in NAMES),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES),
    ]
    now = _now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
