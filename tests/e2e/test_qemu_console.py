"""The console of a real guest: typed in, read out, shared; and a clock that stands still."""

import re
import select
import time

import pytest
import vivtest


@pytest.fixture(scope="module")
def web(module_root, guest):
    return module_root.qemu("web", guest, nets=[]).boot()


def quiet(console, seconds):
    """Whether nothing at all comes for so long."""
    return not select.select([console.master], [], [], seconds)[0]


def press_return(c, times=30):
    """Until a prompt answers: what a dying monitor has read already is lost, as on a line that was cut."""
    for n in range(times):
        drained(c)
        c.at = len(c.text)
        c.line("")
        try:
            return c.expect("# ", 1)
        except vivtest.Timeout:
            if n + 1 == times:
                raise


def test_what_is_typed_arrives_and_what_is_printed_comes_back(web):
    with web.console() as c:
        assert c.banner.startswith("connected to web; Ctrl-] leaves")
        c.line("")
        assert c.run("echo $((40+2))") == "42\n"
        assert c.run("tty").startswith("/dev/pts/")
        assert c.run("false", code=1) == ""
        c.line("echo g''o; cat > /tmp/typed")  # the terminal is cat's when "go" is there
        c.expect("go\r?\n")
        c.line("one line")
        c.send("\x04")
        assert c.run("cat /tmp/typed") == "one line\n"
        # said by the program itself: what the shell says comes before there is one that a signal can end
        c.line("sh -c \"echo g''o; exec sleep 600\"")
        c.expect("go\r?\n")
        c.send("\x03")  # reaches the guest's program, not ours
        c.run("true")
        assert c.leave() == 0
        assert "left web" in c.text + drained(c)
    assert b"typed" in web.serial()


def drained(c):
    while c.read(0):
        pass
    return c.text


def test_several_read_and_one_writes(web):
    with web.console() as writer, web.console() as reader, web.console("--read-only") as third:
        assert "another console writes" in reader.banner
        assert "read-only" in third.banner
        reader.line("echo from the reader")
        writer.line("")
        assert writer.run("echo a$((1+1))c") == "a2c\n"
        for c in (reader, third):
            c.expect("a2c\r?\n")
        assert "from the reader" not in drained(writer)
        assert third.leave() == 0
        assert writer.run("echo still here") == "still here\n"
        reader.expect("still here\r?\n")


def test_a_console_can_be_taken_over(web):
    with web.console() as first:
        first.line("")
        first.run("true")
        with web.console("--steal") as second:
            assert second.banner.startswith("connected to web; Ctrl-] leaves")
            second.line("")
            assert second.run("echo mine") == "mine\n"
            first.expect("mine\r?\n")  # it reads on
            first.line("echo from the first")
            second.run("true")
            assert "from the first" not in second.text


def test_an_attached_console_outlives_the_monitor(web):
    with web.console() as c:
        c.line("")
        c.run("true")
        monitor = web.info()["monitor"]
        assert vivtest.kill(monitor)
        vivtest.wait_gone(monitor)
        press_return(c)
        assert c.run("echo back again") == "back again\n"


def test_the_clock_of_a_paused_guest_stands_still(web):
    with web.console() as c:
        c.line("while usleep 50000; do cut -d' ' -f1 /proc/uptime | sed s/^/tick-/; done &")
        tick = r"tick-([\d.]+)\r?\n"
        c.expect(tick)
        assert web("pause").out == "web: paused\n"
        assert web.info()["state"] == "paused"
        drained(c)
        size = web.serial_size()
        stopped_at = time.monotonic()
        assert quiet(c, 1.5) and web.serial_size() == size
        last = float(re.findall(tick, c.text)[-1])
        assert web.info()["ready"] is not None  # a pause takes nothing away
        c.at = len(c.text)
        assert web("resume").out == "web: running\n"
        after = float(c.expect(tick).group(1))
        assert time.monotonic() - stopped_at >= 1.5 and after - last < 1
        c.line("kill %1")
        c.run("true")
