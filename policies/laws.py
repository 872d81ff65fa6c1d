"""The legal references of what controls of several families are about."""

REST = ("GDPR 32(1)(a)", "HIPAA 164.312(a)(2)(iv)", "SOC 2 CC6.1")  # encryption of what is stored
TRANSIT = ("GDPR 32(1)(a)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.7")  # encryption of what is sent
NETWORK = ("GDPR 32(1)(b)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.6")  # who can reach it
LOGGING = ("GDPR 5(2)", "HIPAA 164.312(b)", "SOC 2 CC7.2")  # a trace of what was done
BACKUP = ("GDPR 32(1)(c)", "HIPAA 164.308(a)(7)(ii)", "SOC 2 A1.2")  # data can be restored
