"""Names of GUIDs: docs/reference/guids.md, and the formats read here.

One value may have two names, since PI renamed SMM to MM; the MM name comes first. Names without the
``g`` prefix are the file names of modules.
"""

from __future__ import annotations

from functools import cache

from mmsupervisor.pi.guid import Guid

_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("DA46BBDF-DAE8-4351-ACC5-4AFCFC8BC7EE", ("gMmSupervisorPkgTokenSpaceGuid",)),
    ("4E4C89DC-A452-4B6B-B183-F16A2A223733", ("gMmSupervisorCoreGuid", "MmSupervisorCore")),
    ("81FF0793-3E18-489B-9A08-A1EB71B23D20", ("gMmSupervisorPolicyFileGuid",)),
    ("581A5B2D-3ACB-465D-A99D-C4AA2C75E250", ("gMmSupervisorAuxFileGuid",)),
    ("D4FFC718-FB82-4274-9AFC-AA8B1EEF5293", ("gMmCommonRegionHobGuid",)),
    ("6C2A2520-0131-4AEE-A750-CC384AACE8C6", ("gMmCommBufferHobGuid",)),
    ("6C0792AC-13D7-431B-A489-032F4AF97380", ("gMmProtectedRegionHobGuid",)),
    ("3DEF51C5-228F-481D-821B-32EC4DF7D9C7", ("gMmSupvUnblockRegionHobGuid",)),
    ("2E135DA6-ADE0-4B96-9B40-B2F367E9F7F7", ("gMmSupervisorDriverDispatchGuid",)),
    ("8C633B23-1260-4EA6-830F-7DDC97382111", ("gMmSupervisorRequestHandlerGuid",)),
    ("0059B149-1117-47DC-80BB-1125E98B418C", ("gMmPagingAuditMmiHandlerGuid",)),
    ("F34014C5-BCEC-4F36-ADA7-49FFF5DD179F", ("gMmCoreMmProfileGuid",)),
    ("D4ADFC6F-2F58-4BCF-A887-05EFB47D4299", ("gMmSupervisorVerVendorGuid",)),
    ("36991C6C-D139-48A5-97C8-58B816071C9F", ("gMmCommunicationBufferReadyPpiGuid",)),
    ("610D9E7D-FB2C-4E67-93C1-11A46CDD5D7F", ("gPeiMmSupervisorCommunicationPpiGuid",)),
    ("495B267C-FC7F-4F03-AD1F-D86769E325B5", ("gMmSupervisorCommunicationProtocolGuid",)),
    ("10B5EEA9-BE0D-4F11-8636-1CB70AA3BA6D", ("gMmSupervisorUnblockMemoryProtocolGuid",)),
    ("2A22E38F-9D1C-49D0-BDCE-7DDAC16DA45D", ("gMmCommBufferUpdateProtocolGuid",)),
    ("3A5446AD-2023-45F9-ADDF-BA48F3A6E2BC", ("gMmScratchPageAllocationProtocolGuid",)),
    ("D5920E08-1CAB-4AAD-B47C-8F83290B31CB", ("gMmRing3HandlerReadyProtocol",)),
    ("BB3D60C4-210B-4076-B596-3DD298AFEA49", ("MmSupervisorRing3Broker",)),
    ("930A5E37-9771-4261-9C54-86F821E25B72", ("MmSupervisorErrorReport",)),
    ("8B479EAC-C3C8-4A1C-BF58-2BEDAE9E1CFB", ("MmSupervisorRing3Performance",)),
    ("E6D1F588-F107-41DE-9832-CEA334B33C1F", ("MmIplPei",)),
    ("2907CB61-CDD4-423C-857A-13A79E246A1D", ("MmIplX64Relay",)),
    ("F0825F4F-D6A2-4F61-A6C0-5F01A86C80FF", ("MmDxeSupport",)),
    ("E9BADBB6-0228-43FB-A367-5F3677CDC9E0", ("StandaloneMmUnblockMem",)),
    ("B09ACDC5-4655-46A5-B781-7A656C071266", ("StandaloneMmIpl",)),
    ("8D4B8BC7-E66B-4BE2-ADD8-4988E08743ED", ("MmCommunicationDxe",)),
    ("DE05B887-A2EF-4D81-BFFE-FF9CDE458753", ("MmCommunicationNotifyDxe",)),
    ("E3121A26-BB1C-4A18-8E23-2EA3F0412248", ("CpuIo2StandaloneMm",)),
    ("7EE2C0C1-C21A-4113-A53A-66824A95696F", ("VariableStandaloneMm",)),
    ("3AADE4EC-63CC-4A48-A928-5A374DD463EB", ("FaultTolerantWriteStandaloneMm",)),
    ("EAEEDEF9-ABE7-4B95-82B0-5A534C899B46", ("ReportStatusCodeRouterStandaloneMm",)),
    ("827AC29D-E52D-4B1A-874A-C6577E0699CF", ("FirmwarePerformanceStandaloneMm",)),
    ("7739F24C-93D7-11D4-9A3A-0090273FC14D", ("gEfiHobListGuid",)),
    ("0703F912-BF8D-4E2A-BE07-AB272525C592", ("gEfiMmPeiMmramMemoryReserveGuid",)),
    ("6DADF1D1-D4CC-4910-BB6E-82B1FD80FF3D", ("gEfiSmmSmramMemoryGuid",)),
    ("417A7F64-F4E9-4B32-846A-5CC4D8621879", ("gMpInformation2HobGuid",)),
    ("BA33F15D-4000-45C1-8E88-F91692D457E3", ("gMpInformationHobGuid",)),
    ("C2217BA7-03BB-4F63-A647-7C25C5FC9D73", ("gSmmBaseHobGuid",)),
    ("F8E21975-0899-4F58-A4BE-5525A9C6D77A", ("gEfiHobMemoryAllocModuleGuid",)),
    ("4C19049F-4137-4DD3-9C10-8B97A83FFDFA", ("gEfiMemoryTypeInformationGuid",)),
    ("0CF445DD-A67C-4F8C-819B-B7B686ED7C75", ("gMmMemoryProtectionSettingsGuid",)),
    ("48DB5E17-707C-472D-91CD-1613E7EF51B0", ("FVMAIN_COMPACT",)),
    ("6938079B-B503-4E3D-9D24-B28337A25806", ("PEIFV",)),
    ("7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1", ("DXEFV",)),
    ("763BED0D-DE9F-48F5-81F1-3E90E1B1A015", ("SECFV",)),
    ("8C8CE578-8A3D-4F1C-9935-896185C32DD3", ("gEfiFirmwareFileSystem2Guid",)),
    ("5473C07A-3DCB-4DCA-BD6F-1E9689E7349A", ("gEfiFirmwareFileSystem3Guid",)),
    ("FC510EE7-FFDC-11D4-BD41-0080C73C8881", ("gAprioriGuid",)),
    ("B65694CC-09E3-4C3B-B5CD-05F44D3CDBFF", ("gMmFvDispatchGuid",)),
    ("821C9A09-541A-40F6-9F43-0AD193A12CFE", ("gEdkiiMemoryProfileGuid",)),
    ("68E8C853-2BA9-4DD7-9AC0-91E16155C935", ("gEfiMmCommunicateHeaderV3Guid",)),
    ("7C316FB3-849E-4EE7-87FC-162D0B0342BF", ("gMmUnblockRegionHobGuid",)),
    ("A160BF99-2AA4-4D7D-9993-899CB12DF376", ("gMmCoreDataHobGuid",)),
    ("4E28CA50-D582-44AC-A11F-E3D56526DB34", ("gEdkiiPiSmmCommunicationRegionTableGuid",)),
    ("02CE967A-DD7E-4FFC-9EE7-810CF0470880", ("gEfiEndOfDxeEventGroupGuid",)),
    ("7CE88FB3-4BD7-4679-87A8-A8D8DEE50D2B", ("gEfiEventReadyToBootGuid",)),
    ("27ABF055-B1B8-4C26-8048-748F37BAA2DF", ("gEfiEventExitBootServicesGuid",)),
    ("2A571201-4966-47F6-8B86-F31E41F32F10", ("gEfiEventLegacyBootGuid",)),
    ("13FA7698-C831-49C7-87EA-8F43FCC25196", ("gEfiEventVirtualAddressChangeGuid",)),
    ("60FF8964-E906-41D0-AFED-F241E974E08E", ("gEfiDxeMmReadyToLockProtocolGuid", "gEfiDxeSmmReadyToLockProtocolGuid")),
    ("47B7FA8C-F4BD-4AF6-8200-333086F0D2C8", ("gEfiMmReadyToLockProtocolGuid", "gEfiSmmReadyToLockProtocolGuid")),
    ("24E70042-D5C5-4260-8C39-0AD3AA32E93D", ("gEfiMmEndOfDxeProtocolGuid", "gEfiSmmEndOfDxeProtocolGuid")),
    ("F33E1BF3-980B-4BFB-A29A-B29C86453732", ("gEfiMmEndOfPeiProtocol",)),
    ("605EA650-C65C-42E1-BA80-91A52AB618C6", ("gEfiEndOfPeiSignalPpiGuid",)),
    ("6E057ECF-FA99-4F39-95BC-59F9921D17E4", ("gEdkiiSmmReadyToBootProtocolGuid",)),
    ("296EB418-C4C8-4E05-AB59-39E8AF56F00A", ("gEdkiiSmmExitBootServicesProtocolGuid",)),
    ("85A8AB57-0644-4110-850F-981322047070", ("gEdkiiSmmLegacyBootProtocolGuid",)),
    ("268F33A9-CCCD-48BE-8817-86053AC32ED6", ("gEfiPeiMmAccessPpiGuid",)),
    ("61C68702-4D7E-4F43-8DEF-A74305CE74C5", ("gEfiPeiMmControlPpiGuid",)),
    ("0C109319-C149-450E-A3E3-B9BADD9DC3A4", ("gEfiPeiMmConfigurationPpi",)),
    ("AE933E1C-CC47-4E38-8F0E-E2F61D2605DF", ("gEfiPeiMmCommunicationPpiGuid", "gEfiPeiSmmCommunicationPpiGuid")),
    ("B9E0ABFE-5979-4914-977F-6DEE78C278A6", ("gEfiPeiLoadFilePpiGuid",)),
    ("EB346B97-975F-4A9F-8B22-F8E92BB3D569", ("gEfiMmCpuProtocolGuid", "gEfiSmmCpuProtocolGuid")),
    ("3242A9D8-CE70-4AA0-955D-5E7B140DE4D2", ("gEfiMmCpuIoProtocolGuid", "gEfiSmmCpuIo2ProtocolGuid")),
    ("26EEB3DE-B689-492E-80F0-BE8BD7DA4BA7", ("gEfiMmConfigurationProtocolGuid", "gEfiSmmConfigurationProtocolGuid")),
    ("5B1B31A1-9562-11D2-8E3F-00A0C969723B", ("gEfiLoadedImageProtocolGuid",)),
    ("18A3C6DC-5EEA-48C8-A1C1-B53389F98999", ("gEfiMmSwDispatchProtocolGuid", "gEfiSmmSwDispatch2ProtocolGuid")),
    ("456D2859-A84B-4E47-A2EE-3276D886997D", ("gEfiMmSxDispatchProtocolGuid", "gEfiSmmSxDispatch2ProtocolGuid")),
    (
        "4CEC368E-8E8E-4D71-8BE1-958C45FC8A53",
        ("gEfiMmPeriodicTimerDispatchProtocolGuid", "gEfiSmmPeriodicTimerDispatch2ProtocolGuid"),
    ),
    ("EE9B8D90-C5A6-40A2-BDE2-52558D33CCA1", ("gEfiMmUsbDispatchProtocolGuid", "gEfiSmmUsbDispatch2ProtocolGuid")),
    ("25566B03-B577-4CBF-958C-ED663EA24380", ("gEfiMmGpiDispatchProtocolGuid", "gEfiSmmGpiDispatch2ProtocolGuid")),
    ("7300C4A1-43F2-4017-A51B-C81A7F40585B", ("gEfiMmStandbyButtonDispatchProtocolGuid",)),
    ("1B1183FA-1823-46A7-8872-9C578755409D", ("gEfiMmPowerButtonDispatchProtocolGuid",)),
    (
        "58DC368D-7BFA-4E77-ABBC-0E29418DF930",
        ("gEfiMmIoTrapDispatchProtocolGuid", "gEfiSmmIoTrapDispatch2ProtocolGuid"),
    ),
    (
        "8BC1714D-FFCB-41C3-89DC-6C74D06D98EA",
        ("gEfiMmPciRootBridgeIoProtocolGuid", "gEfiSmmPciRootBridgeIoProtocolGuid"),
    ),
    ("6AFD2B77-98C1-4ACD-A6F9-8A9439DE0FB1", ("gEfiMmStatusCodeProtocolGuid", "gEfiSmmStatusCodeProtocolGuid")),
    ("2FF29FA7-5E80-4ED9-B380-017D3C554FF4", ("gEfiMmRscHandlerProtocolGuid", "gEfiSmmRscHandlerProtocolGuid")),
    ("5D5450D7-990C-4180-A803-8E63F0608307", ("gEfiMmMpProtocolGuid",)),
    ("D326D041-BD31-4C01-B5A8-628BE87F0653", ("gEfiSmmFirmwareVolumeBlockProtocolGuid",)),
    ("3868FC3B-7E45-43A7-906C-4BA47DE1754D", ("gEfiSmmFaultTolerantWriteProtocolGuid",)),
    ("67C4F112-3385-4E55-9C5B-C05B717C4228", ("gEfiSmmSwapAddressRangeProtocolGuid",)),
    ("ED32D533-99E6-4209-9CC0-2D72CDD998A7", ("gEfiSmmVariableProtocolGuid",)),
    ("93BA1826-DFFB-45DD-82A7-E7DCAA3BBDF3", ("gSmmVariableWriteGuid",)),
    ("B0D8F3C1-B7DE-4C11-BC89-2FB562C8C411", ("gEdkiiSmmVarCheckProtocolGuid",)),
    ("81D1675C-86F6-48DF-BD95-9A6E4F0925C3", ("gEdkiiVariablePolicyProtocolGuid",)),
    ("69B792EA-39CE-402D-A2A6-F721DE351DFE", ("gEdkiiSmmMemoryAttributeProtocolGuid",)),
    ("1D202CAB-C8AB-4D5C-94F7-3CFCC0D3D335", ("gEfiSmmCpuServiceProtocolGuid",)),
    ("B76383A1-0E70-4A3F-86B4-C6134C8E5723", ("gSmmExceptionTestProtocolGuid",)),
    ("49174342-7108-409B-8BBE-65FDA85389F5", ("gSmiHandlerProfileGuid",)),
    ("F4CCBFB7-F6E0-47FD-9DD4-10A8F150C191", ("gEfiMmBaseProtocolGuid", "gEfiSmmBase2ProtocolGuid")),
    ("C2702B74-800C-4131-8746-8FB5B89CE4AC", ("gEfiMmAccessProtocolGuid", "gEfiSmmAccess2ProtocolGuid")),
    ("843DC720-AB1E-42CB-9357-8A0078F3561B", ("gEfiMmControlProtocolGuid", "gEfiSmmControl2ProtocolGuid")),
    ("C68ED8E2-9DC6-4CBD-9D94-DB65ACC5C332", ("gEfiMmCommunicationProtocolGuid", "gEfiSmmCommunicationProtocolGuid")),
    ("378DAEDC-F06B-4446-8314-40AB933C87A3", ("gEfiMmCommunication2ProtocolGuid",)),
    ("F7234A14-0DF2-46C0-AD28-90E6B883A72F", ("gEfiMmCommunication3ProtocolGuid",)),
    ("11B34006-D85B-4D0A-A290-D5A571310EF7", ("gPcdProtocolGuid",)),
    ("13A3F0F6-264A-3EF0-F2E0-DEC512342F34", ("gEfiPcdProtocolGuid",)),
    ("5BE40F57-FA68-4610-BBBF-E9C5FCDAD365", ("gGetPcdInfoProtocolGuid",)),
    ("FD0F4478-0EFD-461D-BA2D-E58C45FD5F5E", ("gEfiGetPcdInfoProtocolGuid",)),
    ("1E5668E2-8481-11D4-BCF1-0080C73C8881", ("gEfiVariableArchProtocolGuid",)),
    ("6441F818-6362-4E44-B570-7DBA31DD2453", ("gEfiVariableWriteArchProtocolGuid",)),
    ("8F644FA9-E850-4DB1-9CE2-0B44698E8DA4", ("gEfiFirmwareVolumeBlockProtocolGuid",)),
    ("3EBD9E82-2C78-4DE6-9786-8D4BFCB7C881", ("gEfiFaultTolerantWriteProtocolGuid",)),
    ("09576E91-6D3F-11D2-8E39-00A0C969723B", ("gEfiDevicePathProtocolGuid",)),
    ("2F707EBB-4A1A-11D4-9A38-0090273FC14D", ("gEfiPciRootBridgeIoProtocolGuid",)),
    ("4CF5B200-68B8-4CA5-9EEC-B23E3F50029A", ("gEfiPciIoProtocolGuid",)),
    ("FFE06BDD-6107-46A6-7BB2-5A9C7EC5275C", ("gEfiAcpiTableProtocolGuid",)),
    ("665E3FF6-46CC-11D4-9A38-0090273FC14D", ("gEfiBdsArchProtocolGuid",)),
    ("26BACCB1-6F42-11D4-BCE7-0080C73C8881", ("gEfiCpuArchProtocolGuid",)),
    ("26BACCB2-6F42-11D4-BCE7-0080C73C8881", ("gEfiMetronomeArchProtocolGuid",)),
    ("1DA97072-BDDC-4B30-99F1-72A0B56FFF2A", ("gEfiMonotonicCounterArchProtocolGuid",)),
    ("27CFAC87-46CC-11D4-9A38-0090273FC14D", ("gEfiRealTimeClockArchProtocolGuid",)),
    ("27CFAC88-46CC-11D4-9A38-0090273FC14D", ("gEfiResetArchProtocolGuid",)),
    ("B7DFB4E1-052F-449F-87BE-9818FC91B733", ("gEfiRuntimeArchProtocolGuid",)),
    ("A46423E3-4617-49F1-B9FF-D1BFA9115839", ("gEfiSecurityArchProtocolGuid",)),
    ("26BACCB3-6F42-11D4-BCE7-0080C73C8881", ("gEfiTimerArchProtocolGuid",)),
    ("665E3FF5-46CC-11D4-9A38-0090273FC14D", ("gEfiWatchdogTimerArchProtocolGuid",)),
    ("3FDDA605-A76E-4F46-AD29-12F4531B3D08", ("gEfiMpServiceProtocolGuid",)),
    ("F541796D-A62E-4954-A775-9584F61B9CDD", ("gEfiTcgProtocolGuid",)),
    ("607F766C-7455-42BE-930B-E4D76DB2720F", ("gEfiTcg2ProtocolGuid",)),
    ("AD61F191-AE5F-4C0E-B9FA-E869D288C64F", ("gEfiCpuIo2ProtocolGuid",)),
    ("0F9D89E8-9259-4F76-A5AF-0C89E34023DF", ("gEfiFirmwareContentsSignedGuid",)),
    ("EE4E5898-3914-4259-9D6E-DC7BD79403CF", ("gLzmaCustomDecompressGuid",)),
    ("D42AE6BD-1352-4BFB-909A-CA72A6EAE889", ("gLzmaF86CustomDecompressGuid",)),
    ("3D532050-5CDA-4FD0-879E-0F7F630D5AFB", ("gBrotliCustomDecompressGuid",)),
    ("A31280AD-481E-41B6-95E8-127F4C984779", ("gTianoCustomDecompressGuid",)),
    ("FC1BCDB0-7D31-49AA-936A-A4600D9DD083", ("gEfiCrc32GuidedSectionExtractionGuid",)),
    ("FFF12B8D-7696-4C8B-A985-2747075B4F50", ("gEfiSystemNvDataFvGuid",)),
    ("DDCF3616-3275-4164-98B6-FE85707FFE7D", ("gEfiVariableGuid",)),
    ("AAF32C78-947B-439A-A180-2E144EC37792", ("gEfiAuthenticatedVariableGuid",)),
    ("6DCBD5ED-E82D-4C44-BDA1-7194199AD92A", ("gEfiFmpCapsuleGuid",)),
    ("3B6686BD-0D76-4030-B70E-B5519E2FC5A0", ("gEfiCapsuleGuid",)),
    ("2A3CFEBD-27E8-4D0A-8B79-D688C2A3E1C0", ("gEfiSmmLockBoxCommunicationGuid",)),
    ("BD445D79-B7AD-4F04-9AD8-29BD2040EB3C", ("gEfiLockBoxProtocolGuid",)),
    ("96F5296D-05F7-4F3C-8467-E456890E0CB5", ("gEdkiiEndOfS3ResumeGuid",)),
    ("DA1B0D11-D1A7-46C4-9DC9-F3714875C6EB", ("gVarCheckPolicyLibMmiHandlerGuid",)),
    ("05AD34BA-6F02-4214-952E-4DA0398E2BB9", ("gEfiDxeServicesTableGuid",)),
    ("8BE4DF61-93CA-11D2-AA0D-00E098032B8C", ("gEfiGlobalVariableGuid",)),
    ("D719B2CB-3D3A-4596-A3BC-DAD00E67656F", ("gEfiImageSecurityDatabaseGuid",)),
    ("F0A30BC7-AF08-4556-99C4-001009C93A44", ("gEfiSecureBootEnableDisableGuid",)),
    ("0379BE4E-D706-437D-B037-EDB82FB772A4", ("gEfiDevicePathUtilitiesProtocolGuid",)),
    ("C076EC0C-7028-4399-A072-71EE5C448B9F", ("gEfiCustomModeEnableGuid",)),
    ("9073E4E0-60EC-4B6E-9903-4C223C260F3C", ("gEfiVendorKeysNvGuid",)),
    ("D9BEE56E-75DC-49D9-B4D7-B534210F637A", ("gEfiCertDbGuid",)),
    ("A5C059A1-94E4-4AA7-87B5-AB155C2BF072", ("gEfiCertX509Guid",)),
    ("C1C41626-504C-4092-ACA9-41F936934328", ("gEfiCertSha256Guid",)),
    ("826CA512-CF10-4AC9-B187-BE01496631BD", ("gEfiCertSha1Guid",)),
    ("3C5766E8-269C-4E34-AA14-ED776E85B3B6", ("gEfiCertRsa2048Guid",)),
    ("EB704011-1402-11D3-8E77-00A0C969723B", ("gMtcVendorGuid",)),
    ("04B37FE8-F6AE-480B-BDD5-37D98C5E89AA", ("gEdkiiVarErrorFlagGuid",)),
)


@cache
def _tables() -> tuple[dict[Guid, tuple[str, ...]], dict[str, Guid]]:
    by_guid = {Guid.parse(text): names for text, names in _NAMES}
    by_name = {name: guid for guid, names in by_guid.items() for name in names}
    return by_guid, by_name


def names_of(guid: Guid) -> tuple[str, ...]:
    """All names of a value, the preferred one first; empty if it has none here."""
    return _tables()[0].get(guid, ())


def guid_by_name(name: str) -> Guid | None:
    """The value a name stands for, or None. Names are case-sensitive."""
    return _tables()[1].get(name)


def known_guid(name: str) -> Guid:
    """The value of a name that this project itself relies on.

    Raises:
        KeyError: the name is not in the table, which is a fault of this project.
    """
    return _tables()[1][name]
