"""PyKMIP's server, narrowed down: pykmip_server.py OPTIONS OF pykmip-server. Run by the Python that
has it (servers.pykmip_python()), with in the environment

  ONLY_VERSIONS         "2.0": speaks no other; a request in another version is refused as its own
                        parser would
  USERNAME, PASSWORD    refuses, as it does who cannot be authenticated, requests whose header does
                        not have them
"""
import os

from kmip.core import enums, exceptions
from kmip.services.server import engine, server, session


def speak_only(versions):
    make = engine.KmipEngine.__init__

    def make_narrow(self, *args, **named):
        make(self, *args, **named)
        self._protocol_versions = [version for version in self._protocol_versions
                                   if str(version) in versions]
        self.default_protocol_version = self._protocol_versions[0]
    engine.KmipEngine.__init__ = make_narrow


def demand(username, password):
    authenticate = session.KmipSession.authenticate

    def check(self, certificate, request):
        given = request.request_header.authentication
        credentials = given.credentials if given else []
        for credential in credentials:
            value = credential.credential_value
            if (credential.credential_type == enums.CredentialType.USERNAME_AND_PASSWORD
                    and (value.username, value.password) == (username, password)):
                return authenticate(self, certificate, request)
        raise exceptions.PermissionDenied("wrong user name or password")
    session.KmipSession.authenticate = check


if __name__ == "__main__":
    if "ONLY_VERSIONS" in os.environ:
        speak_only(os.environ["ONLY_VERSIONS"].split(","))
    if "USERNAME" in os.environ:
        demand(os.environ["USERNAME"], os.environ["PASSWORD"])
    server.main()
