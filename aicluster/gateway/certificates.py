"""Certificates of web pages: the site's own CA, what it issues, and what is wrong with those of others.

All follows from one secret and the calendar, so a run without changes issues the same bytes on any machine.
"""

import base64
import calendar
import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import SiteError
from ..site.relations import CA_SECRET

# RSA with PKCS #1 v1.5: the same signature each time, with every version of `cryptography`.
CA_KEY_BITS = 3072
CA_YEARS = 10
# One certificate a year, from the first of the month in which the CA was made. It is valid from a day before,
# for clocks that are slow, and a month longer, at most 397 days.
YEAR, SPARE = 12, 1
DAY = timedelta(days=1)
# Nobody deploys a certificate that ends sooner.
SOON = timedelta(days=7)
# Order of P-256.
P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DNS_NAME = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


@dataclass(frozen=True)
class Authority:
    """A CA: its private key, its certificate, and the first moment of the month in which it was made."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    since: datetime
    until: datetime


def new_ca_secret(now: datetime) -> str:
    """Return the secret of a new CA: the day, a dot, and its private key (DER, base64)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=CA_KEY_BITS)
    return f"{now:%Y-%m-%d}.{base64.b64encode(der(key)).decode()}"


def der(key: rsa.RSAPrivateKey) -> bytes:
    """Return a private key as PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def month_after(start: datetime, months: int) -> datetime:
    """Return the first moment of the month that comes `months` after that of `start`."""
    years, month = divmod(start.month - 1 + months, YEAR)
    return datetime(start.year + years, month + 1, 1, tzinfo=UTC)


@cache
def parsed(secret: str) -> tuple[datetime, rsa.RSAPrivateKey]:
    """Return day and key of a CA's secret; raise SiteError, without a word of it, for anything else."""
    day, _, key = secret.partition(".")
    try:
        since = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
        loaded = serialization.load_der_private_key(base64.b64decode(key, validate=True), None)
        if isinstance(loaded, rsa.RSAPrivateKey):
            return since, loaded
    except ValueError:
        pass
    raise SiteError(
        f"secret {CA_SECRET} (hidden): must be a day, a dot and a private key, as `make secrets` writes it; "
        "remove its line and run `make secrets`"
    )


def ca_ends(since: datetime) -> datetime:
    """Return when the certificate of a CA ends that was made on this day."""
    last = calendar.monthrange(since.year + CA_YEARS, since.month)[1]
    return since.replace(year=since.year + CA_YEARS, day=min(since.day, last))


def named(text: str) -> x509.Name:
    """Return a name of nothing but a common name, of which 64 characters count."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def usage(**of: bool) -> x509.KeyUsage:
    """Return a key's use: that of a CA, or of a server."""
    no = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    return x509.KeyUsage(**{**no, **of})


def unsigned(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    validity: tuple[datetime, datetime],
) -> x509.CertificateBuilder:  # fmt: skip
    """Return what every certificate has; its number follows from what it says."""
    skid = x509.SubjectKeyIdentifier.from_public_key(key)
    says = f"{subject.rfc4514_string()} {skid.digest.hex()} {validity}"
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(hashlib.sha256(says.encode()).digest()[:16], "big"))
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(skid, critical=False)
    )


@cache
def authority(secret: str, name: str, domain: str, network: str) -> Authority:
    """Return the CA of a site: for names below a domain and addresses of a network, and nothing else."""
    since, key = parsed(secret)
    until = ca_ends(since)
    me = named(f"{name} CA")
    allowed = [x509.DNSName(domain), x509.IPAddress(ipaddress.ip_network(network))]
    certificate = (
        unsigned(me, me, key.public_key(), (since - DAY, until))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.NameConstraints(allowed, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate, month_after(since, 0), until)


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def ca_certificate(secret: str, site: Sequence[str]) -> str:
    """Return the certificate of a site's CA; `site`: its name, domain and network."""
    return pem(authority(secret, *site).certificate)


def terms_past(since: datetime, now: datetime) -> int:
    """Return how many certificates of a node have had their year."""
    return max(0, ((now.year - since.year) * YEAR + now.month - since.month) // YEAR)


def node_certificate(
    secret: str, site: Sequence[str], names: Sequence[str], address: str,
    successor: bool | None = False, now: datetime | None = None,
) -> str:  # fmt: skip
    """Return a node's certificate of this year, or its `successor`, and the private key, as PEM.

    It is valid for the names and the address. `site`: name, domain and network of the site. `successor` is
    None where nobody brings one ahead: the certificate of this year is then valid for the next one, too.
    """
    ca = authority(secret, *site)
    term = terms_past(ca.since, now or datetime.now(UTC)) + bool(successor)
    lasts = YEAR * (2 if successor is None else 1) + SPARE
    begins, ends = (month_after(ca.since, term * YEAR + months) - DAY for months in (0, lasts))
    validity = (begins, min(ends, ca.until))
    info = f"{address} {' '.join(names)} {begins:%Y-%m}"
    # 128 bits more than the order has: no key is likelier than another.
    seed = HKDF(hashes.SHA256(), 48, None, info.encode()).derive(der(ca.key))
    key = ec.derive_private_key(int.from_bytes(seed, "big") % (P256 - 1) + 1, ec.SECP256R1())
    known_as = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address(address))]
    issuer = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        unsigned(named(names[0]), ca.certificate.subject, key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(known_as), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem(certificate) + private.decode()


def successor_months(secret: str, now: datetime | None = None) -> list[str]:
    """Return the months (`2027-11`) in which the successor takes the place of this year's certificate."""
    since = month_after(parsed(secret)[0], 0)
    first = (terms_past(since, now or datetime.now(UTC)) + 1) * YEAR
    return [f"{month_after(since, first + month):%Y-%m}" for month in range(YEAR + SPARE)]


def certificate_names(node: str, domain: str, more: Sequence[str]) -> list[str]:
    """Return the names in a node's certificate: that below the domain of the site, and what is declared."""
    return list(dict.fromkeys([f"{node.lower()}.{domain}", *more]))


def ca_problems(secret: object, now: datetime) -> Iterator[str]:
    """Yield why a secret is no CA of use: it is none, or it ends soon."""
    try:
        since, _ = parsed(str(secret))
    except SiteError:
        yield "is no day, dot and private key"
    else:
        if ca_ends(since) - now < 30 * DAY:
            yield f"is of a CA that ends on {ca_ends(since):%Y-%m-%d}"


def names_one(name: str, known_as: Sequence[x509.GeneralName]) -> bool:
    """Tell whether a certificate is valid for a host name; a wildcard stands for one label."""
    wildcard = f"*.{name.partition('.')[2]}"
    return any(isinstance(one, x509.DNSName) and one.value.lower() in (name, wildcard) for one in known_as)


def own_problems(
    certificate: str, key: str, names: Sequence[str], address: str, now: datetime
) -> Iterator[str]:
    """Yield what is wrong with a certificate of somebody else's CA, and with its key (both PEM)."""
    try:
        first = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        yield "is no certificate in PEM"
        return
    try:
        public = serialization.load_pem_private_key(key.encode(), None).public_key()
    except (ValueError, TypeError):
        yield "has a key that is no private key in PEM, or that a passphrase protects"
    else:
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        if public.public_bytes(*form) != first.public_key().public_bytes(*form):
            yield "does not match its key"
    # Older versions of the library know the naive time only.
    ends = getattr(first, "not_valid_after_utc", None) or first.not_valid_after.replace(tzinfo=UTC)
    begins = getattr(first, "not_valid_before_utc", None) or first.not_valid_before.replace(tzinfo=UTC)
    if begins > now:
        yield f"begins on {begins:%Y-%m-%d}"
    if ends - now < SOON:
        yield f"ends on {ends:%Y-%m-%d}"
    try:
        known_as = list(first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        known_as = []
    addresses = [str(one.value) for one in known_as if isinstance(one, x509.IPAddress)]
    if address not in addresses and not any(names_one(name, known_as) for name in names):
        yield f"names neither {' nor '.join([*names, address])}"
