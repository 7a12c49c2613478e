"""Certificates for tests, by openssl: an authority, and what it signs, valid or expired."""

import pathlib
import shutil
import subprocess

import pytest

_CONFIG = """[ca]
default_ca = d
[d]
database = {folder}/index.txt
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
rand_serial = yes
default_md = sha256
default_days = 1
policy = p
copy_extensions = copy
unique_subject = no
[p]
commonName = supplied
"""


class Authority:
    """Signs certificates."""

    def __init__(self, folder, name="authority"):
        self.folder = pathlib.Path(folder)
        (self.folder / "index.txt").touch()
        (self.folder / "config").write_text(_CONFIG.format(folder=self.folder))
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._key = key
        self.path = self.folder / "ca.pem"
        self._openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", f"/CN={name}")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def sign(self, name, *, expired=False):
        """Paths of a certificate and its key."""
        request, cert, key = f"{name}.csr", f"{name}.pem", f"{name}.key"
        self._openssl(
            "req", *self._key, "-keyout", key, "-out", request, "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
        )  # fmt: skip
        when = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] if expired else []
        self._openssl("ca", "-batch", "-notext", "-config", "config", "-in", request, "-out", cert, *when)
        return self.folder / cert, self.folder / key


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Makes authorities."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    return lambda name="authority": Authority(tmp_path_factory.mktemp("ca"), name)
