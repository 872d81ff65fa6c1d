"""What each framework requires, in our words, and what no program can do: who must do it, and how often.

Controls name these references as their law; a reference that no control names must be covered manually.
Sources: Regulation (EU) 2016/679; 45 CFR Part 164 Subpart C; Sarbanes-Oxley Act section 404; AICPA Trust Services
Criteria 2017 (2022).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirement:
    """One rule.

    Attributes:
        reference: As controls name it, for example ``GDPR 32(1)(a)``.
        text: What it requires.
        people: What must be done in addition to, or instead of, code; empty where code is enough.
        who: Who must do it.
        every: How often.
        tested: Whether a penetration test, of which there is dated evidence, is (a part of) what must be done.
    """

    reference: str
    text: str
    people: str = ""
    who: str = ""
    every: str = ""
    tested: bool = False


PENETRATION_TEST = "penetration-test-due"  # the finding that there is no evidence of one
LEGAL, SECURITY, OPERATIONS, HR, OWNERS, FINANCE = (
    "Legal",
    "Security",
    "Operations",
    "People department",
    "Model owners",
    "Finance",
)

REQUIREMENTS: dict[str, tuple[Requirement, ...]] = {
    "GDPR": (
        Requirement(
            "GDPR 5(1)(b)",
            "Data is used for the purpose it was collected for",
            "Write each dataset's purpose into its contract and check new uses against it",
            OWNERS,
            "each new use",
        ),
        Requirement(
            "GDPR 5(1)(d)",
            "Data is accurate",
            "Correct inaccurate records that people report",
            OPERATIONS,
            "within a month of a request",
        ),
        Requirement(
            "GDPR 5(1)(e)",
            "Data is kept no longer than needed",
            "Review the retention periods in the stack's objectives",
            LEGAL,
            "each year",
        ),
        Requirement(
            "GDPR 5(2)",
            "The company can show that it complies",
            "Keep this evidence with each audit",
            LEGAL,
            "each year",
        ),
        Requirement(
            "GDPR 15-20",
            "People get a copy, a correction, an erasure of their data",
            "Answer requests; find all records of a person by their key",
            LEGAL,
            "within a month of a request",
        ),
        Requirement(
            "GDPR 22",
            "Nobody is subject to a solely automated decision without a way to contest it",
            "Offer a review by a person, with the explanation of the prediction",
            OWNERS,
            "each contested decision",
        ),
        Requirement(
            "GDPR 25",
            "Data protection by design and by default",
            "Review which fields are collected at all",
            OWNERS,
            "each new contract",
        ),
        Requirement(
            "GDPR 28",
            "Processors are bound by contract",
            "Sign AWS's data processing addendum",
            LEGAL,
            "once, and at each new processor",
        ),
        Requirement(
            "GDPR 30",
            "There is a record of processing activities",
            "Keep the record; the contracts' catalog is its source",
            LEGAL,
            "each change",
        ),
        Requirement("GDPR 32(1)(a)", "Personal data is encrypted and pseudonymized"),
        Requirement("GDPR 32(1)(b)", "Confidentiality, integrity, availability and resilience are maintained"),
        Requirement(
            "GDPR 32(1)(c)",
            "Data can be restored in time after an incident",
            "Practice restoring a backup",
            OPERATIONS,
            "each quarter",
        ),
        Requirement(
            "GDPR 32(1)(d)", "Security is tested regularly", "Penetration test", SECURITY, "each quarter", tested=True
        ),
        Requirement(
            "GDPR 32(4)",
            "People process data only as instructed",
            "Review who holds which role",
            SECURITY,
            "each quarter",
        ),
        Requirement(
            "GDPR 33",
            "A breach is reported within 72 hours",
            "Keep the reporting chain ready and exercise it",
            LEGAL,
            "each year",
        ),
        Requirement(
            "GDPR 35",
            "High risks are assessed before processing begins",
            "Data protection impact assessment for each model that decides about people",
            LEGAL,
            "each new model",
        ),
        Requirement(
            "GDPR 44",
            "Data leaves the European Union only under safeguards",
            "Assess transfers of every new processor",
            LEGAL,
            "each new processor",
        ),
        Requirement(
            "GDPR 83",
            "Fines weigh intent, measures taken and cooperation",
            "Keep the trail of findings, waivers and fixes: it is what lowers a fine",
            LEGAL,
            "always",
        ),
    ),
    "HIPAA": (
        Requirement(
            "HIPAA 164.306(a)",
            "Health information is kept confidential, intact and available",
            "Decide which safeguards are reasonable, and write down why",
            SECURITY,
            "each year",
        ),
        Requirement("HIPAA 164.308(a)(1)", "Risks are analyzed and managed", "Risk analysis", SECURITY, "each year"),
        Requirement(
            "HIPAA 164.308(a)(3)",
            "Only the right people have access",
            "Grant and revoke access when people join and leave",
            HR,
            "each change",
        ),
        Requirement(
            "HIPAA 164.308(a)(4)", "Access is authorized", "Authorize each holder of a role", SECURITY, "each quarter"
        ),
        Requirement("HIPAA 164.308(a)(5)", "People are trained", "Security training", HR, "each year"),
        Requirement(
            "HIPAA 164.308(a)(6)",
            "Incidents are detected and handled",
            "Practice incident response",
            SECURITY,
            "each year",
        ),
        Requirement(
            "HIPAA 164.308(a)(7)(ii)",
            "Data is backed up and can be restored",
            "Practice restoring a backup",
            OPERATIONS,
            "each quarter",
        ),
        Requirement(
            "HIPAA 164.308(a)(8)",
            "Safeguards are evaluated",
            "Evaluation, with a penetration test",
            SECURITY,
            "each quarter",
            tested=True,
        ),
        Requirement(
            "HIPAA 164.310",
            "Buildings and devices are protected",
            "AWS does it for its data centers (see its reports in AWS Artifact); laptops are the company's",
            SECURITY,
            "each year",
        ),
        Requirement("HIPAA 164.312(a)(1)", "Systems allow access only to those who have the right"),
        Requirement("HIPAA 164.312(a)(2)(iii)", "Sessions end automatically"),
        Requirement("HIPAA 164.312(a)(2)(iv)", "Health information is encrypted at rest"),
        Requirement(
            "HIPAA 164.312(b)",
            "Activity is recorded and examined",
            "Read the findings of GuardDuty and Security Hub",
            SECURITY,
            "each week",
        ),
        Requirement("HIPAA 164.312(c)(1)", "Health information is not altered or destroyed improperly"),
        Requirement("HIPAA 164.312(d)", "Whoever requests access is who they claim to be"),
        Requirement("HIPAA 164.312(e)(1)", "Health information is protected in transit"),
        Requirement(
            "HIPAA 164.314",
            "Business associates are bound by contract",
            "Sign AWS's business associate addendum",
            LEGAL,
            "once",
        ),
        Requirement(
            "HIPAA 164.316(b)(2)(i)",
            "Documentation is kept for six years",
            "Keep this evidence for six years",
            LEGAL,
            "always",
        ),
    ),
    "SOX": (
        Requirement("SOX 302", "Officers certify the controls", "Sign for the quarter", FINANCE, "each quarter"),
        Requirement(
            "SOX 404",
            "Controls over what feeds the financial reports are in place, and tested",
            "Test a sample of changes: review, two approvals, audit log",
            FINANCE,
            "each quarter",
        ),
        Requirement(
            "SOX 802",
            "Records of audits are kept for seven years",
            "Keep this evidence for seven years",
            FINANCE,
            "always",
        ),
    ),
    "SOC 2": (
        Requirement(
            "SOC 2 CC1.3",
            "Responsibilities and budgets are assigned",
            "Review owners and stakeholders in the stack's objectives",
            OPERATIONS,
            "each quarter",
        ),
        Requirement("SOC 2 CC1.4", "People are competent", "Training", HR, "each year"),
        Requirement("SOC 2 CC3.2", "Risks are identified", "Risk assessment", SECURITY, "each year"),
        Requirement("SOC 2 CC6.1", "Access to information is restricted by design"),
        Requirement(
            "SOC 2 CC6.3",
            "Access follows least privilege and separation of duties",
            "Review who holds which role",
            SECURITY,
            "each quarter",
        ),
        Requirement("SOC 2 CC6.6", "Threats from outside are kept out"),
        Requirement("SOC 2 CC6.7", "Information is protected in transit"),
        Requirement("SOC 2 CC6.8", "Unwanted software is kept out"),
        Requirement(
            "SOC 2 CC7.1",
            "Vulnerabilities are detected",
            "Penetration test; read the image scans",
            SECURITY,
            "each quarter",
            tested=True,
        ),
        Requirement("SOC 2 CC7.2", "Anomalies are detected", "Respond to alarms", OPERATIONS, "always"),
        Requirement("SOC 2 CC7.3", "Incidents are handled", "Practice incident response", SECURITY, "each year"),
        Requirement(
            "SOC 2 CC8.1",
            "Changes are authorized, tested and approved",
            "Have pull requests approved by someone other than their author",
            OWNERS,
            "each change",
        ),
        Requirement("SOC 2 CC9.2", "Vendors are assessed", "Read AWS's reports in AWS Artifact", SECURITY, "each year"),
        Requirement("SOC 2 A1.1", "Capacity is planned"),
        Requirement(
            "SOC 2 A1.2",
            "Data is backed up and can be recovered",
            "Practice restoring a backup",
            OPERATIONS,
            "each quarter",
        ),
        Requirement("SOC 2 C1.2", "Confidential information is disposed of"),
        Requirement("SOC 2 PI1.2", "Inputs are complete and accurate"),
    ),
}


@dataclass(frozen=True)
class CheckItem:
    """A row of the security check-list: what is required, and the controls that show it; none where it must be done
    manually.
    """

    subject: str
    asked: str
    controls: tuple[str, ...] = ()
    people: str = ""
    who: str = ""
    every: str = ""
    tested: bool = False


CHECKLIST = (
    CheckItem(
        "Roles",
        "Data scientists, operations and auditors have separate roles, with least privilege",
        (
            "iam-no-wildcards",
            "iam-no-star-action",
            "iam-passrole-limited",
            "iam-no-administrator",
            "eks-no-cluster-admin",
        ),
    ),
    CheckItem(
        "Roles",
        "People sign in with a second factor, and have no IAM users or keys",
        ("iam-people-use-mfa", "iam-no-users", "iam-no-access-keys"),
    ),
    CheckItem(
        "Secrets",
        "None in code, state or environment",
        (
            "no-secret-in-environment",
            "no-secret-in-user-data",
            "secret-not-in-program",
            "k8s-no-secret-in-environment",
            "k8s-no-secret-object",
        ),
    ),
    CheckItem("Secrets", "They rotate", ("secret-rotates", "rds-password-managed")),
    CheckItem(
        "Encryption",
        "At rest, with the company's own rotating keys",
        (
            "kms-key-rotates",
            "s3-encrypted-with-own-key",
            "rds-encrypted",
            "dynamodb-encrypted-with-own-key",
            "msk-own-key",
            "eks-secrets-encrypted",
            "logs-own-key",
        ),
    ),
    CheckItem("Encryption", "In transit", ("s3-tls-only", "msk-tls-only", "postgres-forces-tls", "listener-tls")),
    CheckItem(
        "CloudTrail",
        "All regions, signed, encrypted, with data events, in a locked bucket",
        (
            "trail-present",
            "trail-all-regions",
            "trail-validated",
            "trail-own-key",
            "trail-records-data",
            "audit-log-locked",
        ),
    ),
    CheckItem(
        "Masking",
        "Personal fields are tokenized before they are stored",
        (),
        "Tag personal fields in each data contract; the pipeline masks what is tagged",
        OWNERS,
        "each new contract",
    ),
    CheckItem(
        "GDPR Art. 83",
        "The trail of findings, waivers and fixes is kept",
        ("waiver-holds",),
        "Keep this evidence",
        LEGAL,
        "each audit",
    ),
    CheckItem(
        "HIPAA 164.306",
        "Confidentiality, integrity and availability of health information",
        (
            "rds-private",
            "s3-no-public-access",
            "no-open-ingress",
            "rds-backed-up",
            "s3-versioned",
            "dynamodb-point-in-time",
        ),
    ),
    CheckItem(
        "Penetration test",
        "An external party tries to break in",
        (),
        "Commission it, and fix what it finds; for most services AWS's policy allows it without prior approval",
        SECURITY,
        "each quarter",
        tested=True,
    ),
)
