"""The isolation policy: forms, decisions, checks, levels (``docs/reference/isolation-policy.md``, ``levels.md``).

What a caller needs, by module (all names are imported from the module that defines them):

======================  ================================================================================================
module                  what
======================  ================================================================================================
``model``               ``Policy``, ``PolicyRoot``, ``MemEntry`` ... ``SaveStateEntry``, ``Place``; the enums
``blob``                ``read_blob(data, file)`` refuses what lies outside; ``read_blob_as_runtime(section, file)`` is
                        what the supervisor sees; ``write_blob(policy)``; ``assemble(roots)`` lays out as the tool does
``legacy``              the same for version 2: ``read_legacy_blob``, ``write_legacy_blob``, ``assemble_legacy``
``sequential``          and for version 1: ``read_sequential_blob``, ``write_sequential_blob``
``questions``           an access as a value that can be asked: ``PortQuestion`` and so on
``defaults``            ``default_policy()``
``compiled``            ``CompiledPolicy(policy)``: what a run asks. ``.io(address, width, mask)``, ``.msr(msr, mask)``,
                        ``.instruction(index)``, ``.save_state(register, width, io)``; each returns a ``Decision``
``decide``              the same answers by the reference's walk: ``decide_io``, ``decide_msr``, ``decide_instruction``
``save_state``          ``decide_save_state_read``, ``decide_save_state_write``; ``IoTrap``, ``SaveStateRegister``
``decision``            ``Decision``: ``status``, ``allowed``, ``reason``, ``rule``, ``root``, ``entry`` (with its
                        ``place``), ``index``, ``surprises``; ``str(decision)`` is a whole line. ``Reason``
``surprises``           ``Surprise``: the fact sheets' numbered surprises that a decision can carry
``check``               ``security_policy_check(policy)``: the first ``Violation`` or None; ``check_status(policy)``
``lint``                ``lint(policy)``: what the reference does not check, as ``LintFinding`` values
``memory_policy``       ``PageLeaf``; ``memory_policy_snapshot``, ``same_memory_policy``, ``fetch_policy``,
                        ``populate_memory_policy``; they raise ``PolicyRequestError`` with its ``status``
``load``                ``load_policy(name)``: a ``LoadedPolicy`` from XML, TOML, a blob, an image, or ``default``
``source``              ``PolicySource``: a policy with its notes (``Note``: reason, reviewer, date, reference)
``xml_source``          ``read_xml(data, file)`` strictly, with lines; ``xml_writer``: ``write_xml(policy)``
``toml_source``         ``read_toml_policy(data, file)``; ``toml_writer``: ``write_toml(source)``
``build``               ``write_policy(source, form)``, ``require_sound(policy)``
``shipped``             ``policy("amd")``, ``policy("intel")``: the minimum for level 30
``levels``              ``judge(policy, vendor, facts)``: a ``LevelReport`` of two ``Verdict``; ``MemoryFacts``
``layers``              ``put_on(base, layers, vendors)``: a ``LayeredPolicy`` with its problems
``compare``             ``compare(a, b)``: every ``AccessChange``
``explain``             ``explain(policy, question)``: an ``Explanation`` with its walk
``document``            the same reports as JSON documents
``reference_tool``      ``reference_build(xml, blob, version)``: the reference's tool, byte for byte, and its errors
``tool_decode``         ``tool_refusal(data)``: the exception that the reference's tool ends with, or None
``dump``                ``dump_policy(policy)``: the lines of the reference's debug dump
======================  ================================================================================================

``mask`` is ``Attribute.READ`` or ``Attribute.WRITE``; ``width`` of a port access is the enum 0, 1, 2 for 1, 2, 4 bytes;
``width`` of a save-state read is in bytes. A decision that would read beyond the policy's bytes raises
``model.PolicyBoundsError``. Nothing here raises for a denial: the caller looks at ``Decision.allowed``.
"""
