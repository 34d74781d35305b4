"""``mmsup info``: its text, its JSON, its exit codes, its files."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmsupervisor import prebuilt
from mmsupervisor.cli import info
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.info_view import MOST_NAME
from mmsupervisor.cli.main import main
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Limits
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import build_guided_section, build_section, build_ui_section, join_sections
from mmsupervisor.pi.volume.encapsulation import BROTLI_GUID
from tests.cli.running import environment, mmsup
from tests.inventory import mm_images as mm
from tests.pi.oracles.mm_modules import mm_modules
from tests.pi.pe_builder import RWDATA, TEXT, BuiltSection, PeBuilder
from tests.support.ovmf import Ovmf

GOLDEN = Path(__file__).resolve().parent / "golden"
SECBOOT = "OVMF_CODE_4M.secboot.fd"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["info", *map(str, words)])


@pytest.fixture
def supervised(tmp_path: Path) -> Path:
    path = tmp_path / "supervised.fd"
    path.write_bytes(mm.volume(*mm.whole(), mm.driver("IoMsr", depex=mm.TRUE), mm.driver("Sizes", type_=FileType.MM)))
    return path


@pytest.mark.parametrize(
    ("golden", "options"), [("info-secboot.txt", []), ("info-secboot-all.txt", ["--all", "--guids"])]
)
def test_text_of_the_secure_boot_image_in_a_pipe(ovmf: Ovmf, golden: str, options: list[str]) -> None:
    folder = ovmf.path(SECBOOT).parent
    done = mmsup("info", *options, SECBOOT, cwd=folder)
    assert done.returncode == 0
    assert done.stderr == ""
    for module in mm_modules(ovmf.path(SECBOOT)):
        words = f"{module.name} {len(module.image):,} {module.relocations:,}".split()
        assert [line for line in done.stdout.splitlines() if set(words) <= set(line.split())], module.name
    expected = (GOLDEN / golden).read_text(encoding="utf-8")
    assert bool(ovmf.known_release(SECBOOT)) == (ovmf.sha256(SECBOOT) in expected)
    if ovmf.known_release(SECBOOT):
        assert done.stdout == expected


def test_the_text_of_the_readme_is_true(ovmf: Ovmf) -> None:
    """What the README shows is lines of the real output, in their order; a line of dots stands for what is left out."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme.split("## A real run", 1)[1].split("    $ mmsup info", 1)[1].split("\n\nEvery", 1)[0]
    shown = [line[4:] for line in block.splitlines()[1:] if line.strip() and line.strip() != "..."]
    rest = iter((GOLDEN / "info-secboot.txt").read_text(encoding="utf-8").splitlines())
    assert len(shown) > 15
    missing = [line for line in shown if line not in rest]
    assert missing == []


def test_default_text_fits_100_columns(ovmf: Ovmf, supervised: Path) -> None:
    for path in (*ovmf.files(), supervised):
        lines = run(path).output.splitlines()[1:]
        assert max(map(len, lines)) <= 100
        assert not [line for line in lines if line != line.rstrip()]


def test_narrow_terminals_get_fewer_columns_and_whole_names(ovmf: Ovmf) -> None:
    path = ovmf.path(SECBOOT)
    text = mmsup("info", path, env=environment(COLUMNS="80")).stdout
    assert max(map(len, text.splitlines()[1:])) <= 80
    assert text.endswith("\n\nWith 100 columns the tables also have Free, System and Sections.\n")
    lines = [line.split() for line in text.splitlines()]
    for module in survey(path).modules:
        assert module.executable
        assert [line for line in lines if line[:1] == [module.name] and f"{module.executable.size:,}" in line]


def test_text_of_a_supervised_image(supervised: Path) -> None:
    result = run(supervised)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for words in (
        "MM Supervisor core, ring-3 broker, 1 policy, 2 MM_STANDALONE drivers",
        "1 traditional SMM driver",
        "IO deny 2, MSR deny 13, INSTRUCTION allow 3, SAVE_STATE allow 2, MEM deny 0",
        "passes",
        "error C4 IoMsr: its dependencies are true without the broker",
        "note traditional a traditional SMM driver needs conversion",
    ):
        assert words in text, text


def test_all_lists_every_file(ovmf: Ovmf) -> None:
    path = ovmf.path(SECBOOT)
    short, full = run(path).output, run("--all", path).output
    names = [file.name for volume in survey(path).volumes for file in volume.files if file.name]
    assert len(names) > 100
    assert all(name in full for name in names)
    assert "DxeCore" not in short


def test_guids_lists_them(ovmf: Ovmf) -> None:
    path = ovmf.path(SECBOOT)
    short, full = run(path).output, run("--guids", path).output
    modules = survey(path).modules
    assert len(modules) == 8
    for module in modules:
        assert f"{module.guid}  {module.name}" in short
        assert f"{module.guid}  {module.name}" in full
    assert "gEfiPcdProtocolGuid\n" not in short.split("GUIDs of the MM modules")[1]
    assert "13A3F0F6-264A-3EF0-F2E0-DEC512342F34  gEfiPcdProtocolGuid" in full


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    sections = [build_section(0x10, b"MZ"), build_ui_section("evil\x1b]0;x\a[red]b[/red]\u202e")]
    path = tmp_path / "evil.fd"
    path.write_bytes(mm.volume(FileSpec(mm.HOLDER, FileType.MM_STANDALONE, join_sections(sections))))
    for options in ([], ["--all", "--guids"]):
        text = run(*options, path).output
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "evil\\x1b]0;x\\x07[red]" in "".join(line.strip() for line in text.split())


def test_json_is_one_document_for_all_images(ovmf: Ovmf, tmp_path: Path) -> None:
    gone = tmp_path / "gone.fd"
    result = run("--json", ovmf.path(SECBOOT), gone, ovmf.path("OVMF_VARS_4M.fd"))
    document = json.loads(result.stdout)
    assert document["schema"] == "mmsupervisor.info/1"
    assert [image["kind"] for image in document["images"]] == ["flash image", "variable store"]
    assert document["failures"] == [{"name": str(gone), "error": f"{gone}: No such file or directory"}]
    assert result.stderr == f"mmsup: {gone}: No such file or directory\n"
    assert result.exit_code == ExitCode.UNREADABLE


def test_a_failing_image_does_not_stop_the_others(ovmf: Ovmf, tmp_path: Path) -> None:
    text = tmp_path / "text.inf"
    text.write_text("[Defines]\n")
    result = run(tmp_path / "gone.fd", ovmf.path("OVMF_CODE_4M.fd"), tmp_path, text)
    assert result.exit_code == ExitCode.UNREADABLE
    assert result.stderr.splitlines() == [
        f"mmsup: {tmp_path}/gone.fd: No such file or directory",
        f"mmsup: {tmp_path}: Is a directory",
    ]
    assert "no MM drivers in this image" in result.stdout
    assert "no firmware: there is nothing in it for management mode" in result.stdout


def test_an_internal_error_in_one_image_does_not_stop_the_others(
    ovmf: Ovmf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_vars(path: Path) -> object:
        if "VARS" in path.name:
            raise ZeroDivisionError("planted")
        return survey(path)

    monkeypatch.setattr(info, "survey", fail_on_vars)
    result = run(ovmf.path("OVMF_VARS_4M.fd"), ovmf.path("OVMF_CODE_4M.fd"))
    assert result.exit_code == ExitCode.INTERNAL_ERROR
    assert "no MM drivers in this image" in result.stdout


def code_of(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    result = run(path)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code


def test_exit_codes(ovmf: Ovmf, tmp_path: Path, supervised: Path) -> None:
    for path in ovmf.files():
        assert run(path).exit_code == ExitCode.OK
    path = tmp_path / "image.fd"
    data = supervised.read_bytes()
    assert code_of(path, data[: len(data) // 2]) == ExitCode.MALFORMED
    assert code_of(path, b"") == ExitCode.MALFORMED
    assert code_of(path, bytes(range(256)) * 20) == ExitCode.MALFORMED
    assert code_of(path, b"\xff" * 4096) == ExitCode.MALFORMED


def test_an_input_beyond_the_limits_is_5(supervised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "survey", lambda path: survey(path, Limits(items=3)))
    result = run(supervised)
    assert result.exit_code == ExitCode.LIMIT
    assert result.stderr.count("\n") == 1
    monkeypatch.setattr(info, "survey", lambda path: survey(path, Limits(expanded_bytes=10)))
    supervised.write_bytes(mm.volume(mm.nested(mm.volume(*mm.whole()))))
    result = run(supervised)
    assert result.exit_code == ExitCode.LIMIT
    assert "could not be opened" in result.stdout


def test_a_missing_library_is_6_only_if_nothing_could_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    packed = FileSpec(
        mm.HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, build_guided_section(BROTLI_GUID, bytes(64), attributes=1)
    )
    path = tmp_path / "image.fd"
    assert code_of(path, mm.volume(packed)) == ExitCode.MISSING_LIBRARY
    text = run(path).output
    assert "missing library" in text
    assert "extra `brotli`" in text
    assert "no MM drivers in what could be opened" in text
    assert code_of(path, mm.volume(packed, mm.driver("Echo"))) == ExitCode.OK


def payload_names(ovmf: Ovmf) -> list[str]:
    """What another reader finds to extract: an image of each MM module, and the dependency expressions there are."""
    modules = mm_modules(ovmf.path(SECBOOT))
    return [f"{module.name}.efi" for module in modules] + [f"{module.name}.depex" for module in modules if module.depex]


def test_extract_writes_and_says_so(ovmf: Ovmf, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = run("--extract", folder, ovmf.path(SECBOOT))
    assert result.exit_code == ExitCode.OK
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(payload_names(ovmf))
    assert all(f"{folder}/{name}" in result.output for name in files)
    for module in mm_modules(ovmf.path(SECBOOT)):
        assert (folder / f"{module.name}.efi").read_bytes() == module.image
        assert hashlib.sha256(module.image).hexdigest()[:60] in "".join(result.output.split())
    again = run("--extract", folder, ovmf.path(SECBOOT))
    assert again.exit_code == ExitCode.UNREADABLE
    assert "is there already; nothing was written (--force replaces files)" in again.stderr
    assert run("--extract", folder, "--force", ovmf.path(SECBOOT)).exit_code == ExitCode.OK
    assert run(folder / "VariableSmm.efi").exit_code == ExitCode.OK


def test_extract_of_several_images_goes_to_folders_of_their_own(ovmf: Ovmf, tmp_path: Path) -> None:
    other = tmp_path / "other.fd"
    other.write_bytes(ovmf.path(SECBOOT).read_bytes())
    images = [ovmf.path(SECBOOT), other, ovmf.path(SECBOOT), ovmf.path("OVMF_VARS_4M.fd")]
    result = run("--extract", tmp_path / "out", *images)
    assert result.exit_code == ExitCode.OK
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        SECBOOT,
        f"{SECBOOT}-2",
        "other.fd",
    ]
    assert "Nothing was written" in result.output


def test_extract_with_json_keeps_the_document_clean(ovmf: Ovmf, tmp_path: Path) -> None:
    result = run("--json", "--extract", tmp_path / "out", ovmf.path(SECBOOT))
    assert json.loads(result.stdout)["failures"] == []
    assert result.stderr.count("mmsup: wrote ") == len(payload_names(ovmf))


@pytest.mark.parametrize("cut", [0, 1, 0x37, 0x78, 0x1000, 0x2FFFF])
def test_cuts_of_a_real_image_end_in_a_report_or_a_line(ovmf: Ovmf, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.fd"
    path.write_bytes(ovmf.path(SECBOOT).read_bytes()[:cut])
    done = mmsup("info", path)
    assert done.returncode == ExitCode.MALFORMED
    assert done.stderr == ""
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (mm.flash_dump(mm.volume(*mm.whole())), ["Regions of the flash dump", "0x1000", "BIOS"]),
        (mm.capsule(mm.volume(*mm.whole())), ["capsule gEfiCapsuleGuid", "In the capsule", "firmware volume"]),
        (mm.fmp_capsule(mm.volume(*mm.whole()), mm.OTHER_CORE), ["In the capsule", str(mm.OTHER_CORE)]),
        (prebuilt.image("Echo"), ["PE32+ X64, EFI boot service driver", "relocations 1", "entry point 0x11b2"]),
        (b"MZ" + bytes(100), ["PE image", "damaged no PE signature"]),
        (mm.volume(mm.driver("Echo", without=[SectionType.PE32])), ["no image", "error C3 Echo: there is no PE32"]),
        (mm.volume(mm.driver("Echo", depex=b"\x03\x08")), ["AND; END [AND at 0x0 finds 0 values]"]),
        (mm.volume(mm.driver("Echo", without=[SectionType.MM_DEPEX])), ["Echo none", "never runs"]),
        (mm.volume(mm.policy(b"\0" * 60)), ["Policy", "does not cover the header"]),
        (mm.volume(*mm.whole())[:0x32] + b"\0\0" + mm.volume(*mm.whole())[0x34:], ["bad header checksum", "damage"]),
    ],
)
def test_text_of_all_sorts_of_input(tmp_path: Path, data: bytes, words: list[str]) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(data)
    text = " ".join(run("--all", "--guids", path).output.split())
    for word in words:
        assert word in text, text


def test_a_long_name_leaves_room_for_the_rest(tmp_path: Path) -> None:
    sections = [build_section(SectionType.PE32, prebuilt.image("Echo")), build_ui_section("Long" * 60)]
    path = tmp_path / "image.bin"
    path.write_bytes(mm.volume(FileSpec(mm.HOLDER, FileType.MM_STANDALONE, join_sections(sections))))
    text = run("--all", path).output
    assert max(map(len, text.splitlines()[1:])) <= 100
    assert "X64" in text
    assert "20,480" in text


@pytest.mark.parametrize("options", [[], ["--all", "--guids"]])
def test_names_of_hostile_length_are_cut(tmp_path: Path, options: list[str]) -> None:
    """Compressed, names of any length take no room: shown whole, they would take hours."""
    long = "N" * 100_000
    data = (BuiltSection(f".d{number}", b"", RWDATA, virtual_size=1) for number in range(500))
    sections = [BuiltSection(".text", b"\xc3" * 16, TEXT), *data]
    image = PeBuilder(sections, entry=0x6000).build()
    inner = [
        build_section(SectionType.MM_DEPEX, mm.TRUE),
        build_section(SectionType.PE32, image),
        build_ui_section(long),
    ]
    path = tmp_path / "image.bin"
    path.write_bytes(mm.volume(*[FileSpec(mm.HOLDER, FileType.MM_STANDALONE, join_sections(inner))] * 3))
    shown = run(*options, path).output
    assert shown.count("N") < 3 * 8 * MOST_NAME
    assert len(shown) < 30_000
    assert [module["name"] for module in json.loads(run("--json", path).output)["images"][0]["modules"]] == [long] * 3


@pytest.mark.parametrize("width", [80, 100])
def test_a_full_table_loses_no_letter(tmp_path: Path, width: int) -> None:
    """Drivers without a name are shown by GUID, beside columns that are there for their odd alignment."""
    guid = Guid.parse("0C0C0C0C-0000-4000-8000-0000000000F3")
    odd = PeBuilder([BuiltSection(".text", b"\xc3" * 16, TEXT)], machine=0xAA64, alignment=0x20).build()
    path = tmp_path / "image.bin"
    files = [
        mm.driver("Echo", guid=guid, image=image, without=[SectionType.USER_INTERFACE])
        for image in (odd, b"MZ no image")
    ]
    path.write_bytes(mm.volume(*files))
    shown = mmsup("info", path, env=environment(COLUMNS=str(width))).stdout
    table = shown.split("MM modules\n", 1)[1].split("\n\n", 1)[0].splitlines()
    assert max(map(len, table)) <= width
    assert table[0].split()[:7] == ["Name", "Kind", "Machine", "PE", "bytes", "Align", "Relocs"]
    assert "".join(line.split()[0] for line in table[1:]) == str(guid) * 2
    assert {"AARCH64", "standalone", "0x20"} <= set(" ".join(table).split())


def test_what_could_not_be_read_is_not_denied(ovmf: Ovmf, tmp_path: Path) -> None:
    """There are SMM drivers in this image; where its main volume is lost, that is not denied."""
    path = tmp_path / "damaged.fd"
    sound = ovmf.path(SECBOOT).read_bytes()
    for offset, new in ((0x28, b"____"), (0x30, b"\0\0"), (0x30, b"\xff\xff"), (0x78, b"\xff" * 24), (0x78, bytes(24))):
        path.write_bytes(sound[:offset] + new + sound[offset + len(new) :])
        text = run(path).output
        assert "no MM drivers in what could be read" in text
        assert "Problems of the format" in text


def test_tables_and_expressions_of_hostile_length_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(mm.volume(*(mm.driver("Echo", image=b"MZ", depex=mm.TRUE) for _ in range(1500))))
    start = time.process_time()
    text = run(path).output
    assert text.count("and 500 more; --all shows them") == 3, "modules, expressions, GUIDs"
    assert "and 2,000 more; --all shows them" in text
    assert time.process_time() - start < 60
    path.write_bytes(mm.volume(mm.driver("Echo", depex=b"\x06" * 50_000 + b"\x08")))
    text = " ".join(run(path).output.split())
    assert "characters more; --json has them all" in text
    assert len(text) < 20_000


def test_many_problems_are_cut_and_all_shows_them(ovmf: Ovmf, tmp_path: Path) -> None:
    path = tmp_path / "image.bin"
    damaged = mm.volume(*(mm.driver("Echo") for _ in range(12)))
    for file in survey(damaged).volumes[0].files:
        damaged = damaged[: file.offset + 0x11] + b"\0" + damaged[file.offset + 0x12 :]
    path.write_bytes(damaged)
    assert "and 2 more; --all shows them" in run(path).output
    assert run(path).output.count("file-data-checksum") == 10
    assert run("--all", path).output.count("file-data-checksum") == 12
