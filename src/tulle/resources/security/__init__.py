"""The kinds of Istio's security API, each as a frozen model of its `spec`."""

from tulle.resources.security.authentication import Authentication
from tulle.resources.security.authorization_policy import AuthorizationPolicy
from tulle.resources.security.certificate import Certificate
from tulle.resources.security.firewall import Firewall
from tulle.resources.security.guard import Guard
from tulle.resources.security.peer_authentication import PeerAuthentication
from tulle.resources.security.rate_limit import RateLimit
from tulle.resources.security.request_authentication import RequestAuthentication
from tulle.resources.security.transcoding import Transcoding

__all__ = [
    "Authentication",
    "AuthorizationPolicy",
    "Certificate",
    "Firewall",
    "Guard",
    "PeerAuthentication",
    "RateLimit",
    "RequestAuthentication",
    "Transcoding",
]
