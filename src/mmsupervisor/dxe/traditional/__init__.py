"""The stand-in for DXE that traditional SMM drivers meet, under the relaxation "traditional entry".

=============  =====================================================================================
``services``   every service that there is, declared once: table, offset, arguments, support
``stand_in``   :class:`~mmsupervisor.dxe.traditional.stand_in.StandIn`: tables in memory, calls, census
``area``       the pages that hold tables, handles and the addresses that stand for services
``call``       one call: its arguments, and the memory that they name
``database``   DXE's handles, protocols and interfaces, events
others         what the services do, by table
=============  =====================================================================================

What is not implemented answers EFI_UNSUPPORTED and is counted: nothing pretends to have been done.
"""
