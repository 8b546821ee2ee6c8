"""The web application firewall: the OWASP Core Rule Set, asked by proxies before a request goes on."""
