"""log4j2 of Java, and Monolog of PHP."""

from decimal import Decimal

from service import At, Record, flatten, load

JARS = ("log4j-api", "log4j-core", "jackson-core", "jackson-databind", "jackson-annotations")
CLASS_PATH = ":".join(f"/usr/share/java/{jar}.jar" for jar in JARS)
INCLUDE_PATH = "include_path=/usr/share/php"
LOG4J2_LEVELS = {
    "TRACE": "DEBUG",
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARNING",
    "ERROR": "ERROR",
    "FATAL": "CRITICAL",
}
MONOLOG_LEVELS = {
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "NOTICE": "INFO",
    "WARNING": "WARNING",
    "ERROR": "ERROR",
    "CRITICAL": "CRITICAL",
    "ALERT": "CRITICAL",
    "EMERGENCY": "CRITICAL",
}


def log4j2(configuration, program):
    """Returns the command that runs a program with log4j2."""
    options = [f"-Dlog4j2.configurationFile={configuration}", "-XX:TieredStopAtLevel=1", "-cp", CLASS_PATH]
    return ["java", *options, program]


def test_log4j2(sender):
    expected = []
    command = log4j2(sender.client("java/log4j2.xml"), sender.client("java/Log4j2.java"))
    for text in filter(None, sender.run(*command)):
        sent = load(text)
        level, instant, message = sent.pop("level"), sent.pop("instant"), sent.pop("message")
        at = At(int(instant["epochSecond"]) + Decimal(instant["nanoOfSecond"]) / 10**9)
        kept = {} if level in ("DEBUG", "INFO", "WARN", "ERROR") else {"level": level}
        expected.append(Record(LOG4J2_LEVELS[level], message, {"at": at} | kept | flatten(sent)))
    assert len(expected) == 7
    sender.stored(*expected)


def test_monolog(sender):
    expected = []
    for text in sender.run("php", "-d", INCLUDE_PATH, sender.client("php/monolog.php")):
        sent = load(text)
        level, at, message = sent.pop("level_name"), sent.pop("datetime"), sent.pop("message")
        del sent["level"]
        kept = {} if level in MONOLOG_LEVELS.values() else {"level": level}
        expected.append(Record(MONOLOG_LEVELS[level], message, {"at": At.iso(at)} | kept | flatten(sent)))
    assert len(expected) == 9
    sender.stored(*expected)
