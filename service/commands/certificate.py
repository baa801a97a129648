"""The certificate that `pollux serve` speaks HTTPS with; what is wrong with it is one line."""

from service.commands.console import FAILED, MISUSED, fail, say
from service.settings import Settings
from service.tls import BadCertificate, check, self_signed


def with_certificate(settings: Settings) -> Settings:
    """The settings with a certificate that was read or made, or as they were without TLS."""
    cert, key = settings.tls_cert, settings.tls_key
    if settings.tls_self_signed:
        if cert is not None or key is not None:
            fail(
                "--tls-self-signed makes a certificate; leave --tls-cert and --tls-key out", MISUSED
            )
        return _self_signed(settings)
    if cert is None and key is None:
        return settings
    if cert is None or key is None:
        fail("--tls-cert and --tls-key go together", MISUSED)
    try:
        check(cert, key)
    except BadCertificate as error:
        fail(error, MISUSED)
    return settings


def _self_signed(settings: Settings) -> Settings:
    from model.checkpoints.fetch import cache_folder

    folder = settings.cache.expanduser() if settings.cache is not None else cache_folder()
    try:
        cert, key = self_signed(folder / "tls")
    except (BadCertificate, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        fail(f"cannot make a certificate in {folder / 'tls'}: {reason}", FAILED)
    say(f"Certificate for localhost: {cert}")
    say(f"  clients trust it with SSL_CERT_FILE={cert}")
    return settings.model_copy(update={"tls_cert": cert, "tls_key": key})
