"""What looks like a secret, and what only has a name like one."""

from __future__ import annotations

import base64

import pytest

from policies.secret_forms import looks_secret, names_a_secret, script_has_secret

# Built here, so that no scanner takes them for real ones.
STRIPE, SLACK = "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc", "https://hooks.slack.com/services/" + "T0AB/B0CD/xyz123"
AWS, JWT = "AKIA" + "IOSFODNN7EXAMPLE", "eyJhbGciOiJI" + ".eyJzdWIiOiIx" + ".SflKxwRJSMeKKF2QT4"


@pytest.mark.parametrize(
    "name",
    ["DB_PASSWORD", "dbPassword", "password", "DB_PASS", "API_KEY", "apiKey", "AWS_SECRET_ACCESS_KEY", "AUTH_TOKEN",
     "JWT_SECRET", "DJANGO_SECRET_KEY", "PASSWORD_VALUE", "DB_PASSWORD_1", "dbpassword", "--db_password", "GH_TOKEN"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name) and looks_secret(name, "hunter2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY_HEADER", "x-api-key"), ("SECRET_VERSION_STAGE", "AWSCURRENT"), ("PASS_THROUGH", "enabled"),
        ("DB_PASSWORD_KEY", "password"), ("DB_PASSWORD_ARN", "x"), ("SECRET_NAME", "db"), ("TOKEN_URL", "https://x.y/t"),
        ("PASSWORD_MIN_LENGTH", "12"), ("DB_PASSWORD", ""), ("DB_PASSWORD", "none"), ("USE_SECRET", "true"),
        ("DB_PASSWORD", "arn:aws:secretsmanager:eu-west-1:1:secret:x"), ("DB_PASSWORD", "/app/db"), ("BYPASS", "x"),
        ("DB_PASSWORD", "${PASSWORD}"), ("URL", "https://${USER}:${PASSWORD}@x.com"), ("URL", "https://x.com/a?b=c"),
        ("COMPASS", "north"), ("CONFIG", '{"db": {"passwordArn": "x", "port": 5432}}'), ("password", "password"),
    ],
)  # fmt: skip
def test_what_only_tells_of_a_secret(name: str, value: str) -> None:
    assert not looks_secret(name, value)


@pytest.mark.parametrize(
    "value",
    [STRIPE, SLACK, AWS, JWT, "SG." + "a1b2c3d4e5f6g7h8." + "i9j0k1l2m3n4o5p6", "sk-proj-" + "a1b2c3d4e5f6g7h8i9j0k1l2",
     "postgres://u:hunter2@host/db", '{"db": {"password": "hunter2"}}', '[{"apiKey": "a1b2"}]', "ghp_" + "a" * 36],
)  # fmt: skip
def test_forms_of_secrets(value: str) -> None:
    assert looks_secret("SETTING", value)


SCRIPTS = [
    "#!/bin/bash\nexport DB_PASSWORD=hunter2\n",
    "docker run -e DB_PASSWORD=hunter2 app",
    "echo 'export DB_PASSWORD=hunter2' >> /etc/profile",
    "mysql -u root -phunter2 < x.sql",
    "mysqladmin --password=hunter2 status",
    "aws rds modify-db-instance --master-user-password hunter2",
    "echo 'admin:hunter2' | chpasswd",
    "#cloud-config\nchpasswd:\n  list: |\n    root:hunter2\n",
    f"aws configure set aws_access_key_id {AWS}",
    "#cloud-config\nwrite_files:\n- content: |\n    password: hunter2\n",
]
CLEAN = [
    "#!/bin/bash\nyum update -y\n",
    "DB_PASSWORD=$(aws ssm get-parameter --name x)",
    "DB_PASSWORD=`aws ssm get-parameter --name x`",
    "export DB_PASSWORD=$PASSWORD",
    "docker run -e DB_PASSWORD app",
    "mysql -u root -p$PASSWORD",
    "echo PasswordAuthentication no >> /etc/ssh/sshd_config",
    "SECRET_ARN=arn:aws:secretsmanager:eu-west-1:1:secret:x",
    "#cloud-config\nchpasswd:\n  list: |\n    root:RANDOM\n",
    "curl -H 'Authorization: Bearer '$TOKEN https://x",
    "",
]


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "base64"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_with_secrets(script: str, coded: bool) -> None:
    assert script_has_secret(base64.b64encode(script.encode()).decode() if coded else script)


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "base64"])
@pytest.mark.parametrize("script", CLEAN)
def test_scripts_without(script: str, coded: bool) -> None:
    assert not script_has_secret(base64.b64encode(script.encode()).decode() if coded else script)
