import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # starts processes

COMPARE = """
import importlib, json, sys
from groundplan.engine import provider_imports
if sys.argv[2] == "deferred":
    provider_imports.install()
package = importlib.import_module(sys.argv[1])
package._utilities  # the providers import services lazily
before = len([name for name in sys.modules if name.startswith(sys.argv[1] + ".")])
names = sorted(name for name in dir(package) if not name.startswith("__"))
found = {name: getattr(package, name) for name in names}
kinds = {name: getattr(item, "__module__", None) or item.__class__.__name__ for name, item in found.items()}
json.dump([kinds, before], sys.stdout)
"""


def names(package: str, how: str) -> tuple[dict[str, str], int]:
    done = subprocess.run([sys.executable, "-c", COMPARE, package, how], capture_output=True, text=True, check=True)
    kinds, modules = json.loads(done.stdout)
    return kinds, modules


@pytest.mark.parametrize("package", ["pulumi_aws.s3", "pulumi_aws.kms", "pulumi_kubernetes.core.v1"])
def test_a_package_gives_what_python_would_give(package: str) -> None:
    plain, loaded = names(package, "plain")
    deferred, fewer = names(package, "deferred")
    public = {name: kind for name, kind in plain.items() if not (kind == "module" and name not in deferred)}
    assert {name: deferred.get(name) for name in public} == public
    assert fewer < loaded / 4


def test_a_name_that_does_not_exist_is_told_as_python_tells_it() -> None:
    code = (
        "from groundplan.engine import provider_imports; provider_imports.install(); import pulumi_aws.s3 as s3;"
        " s3.Buckett"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'pulumi_aws.s3' has no attribute 'Buckett'" in done.stderr


def test_a_packages_own_kind_of_module_stays() -> None:
    code = """
from groundplan.engine import provider_imports
provider_imports.install()
import pulumi, pulumi_aws
pulumi.runtime.set_all_config({"aws:region": "eu-west-1"})
print(pulumi_aws.config.region)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "eu-west-1"


def test_from_imports_and_star_imports_work() -> None:
    code = """
from groundplan.engine import provider_imports
provider_imports.install()
from pulumi_aws.kms import Key, get_key
from pulumi_aws.kms import *
import pulumi_aws.kms.alias
print(Key.__module__, get_key.__module__, Alias.__module__, pulumi_aws.kms.alias.Alias is Alias)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pulumi_aws.kms.key", "pulumi_aws.kms.get_key", "pulumi_aws.kms.alias", "True"]
