/*
 * CpuIo: fills gMmst->MmIo, which until then answers "not available yet", and installs the CPU I/O protocol. Ports
 * go through system calls, memory is accessed directly (docs/reference/gmmst.md section 9). Its handler uses the
 * table's entries as any other driver would.
 */
#include "../sample.h"

typedef enum { CpuIoMemory, CpuIoPorts } CPU_IO_SPACE;

typedef struct {
  UINT64 Status;
  UINT32 Space; /* CPU_IO_SPACE */
  UINT32 Write; /* 0: read */
  UINT32 Width; /* EFI_MM_IO_WIDTH */
  UINT32 Count; /* at most what Data holds */
  UINT64 Address;
  UINT64 Data[4];
} CPU_IO_MESSAGE;

MM_STATIC_ASSERT(sizeof(CPU_IO_MESSAGE) == 64);

#define LAST_PORT    0xFFFFULL
#define LAST_ADDRESS (~1ULL) /* one below the last, so that no sum wraps */

static EFI_STATUS Check(EFI_MM_IO_WIDTH Width, EFI_MM_IO_WIDTH Widest, UINT64 Address, UINTN Count, UINT64 Last,
                        const void *Buffer) {
  UINT64 Stride;

  if (Buffer == NULL || Width > Widest) {
    return EFI_INVALID_PARAMETER;
  }
  Stride = 1ULL << Width;
  if (Address % Stride != 0 || Address > Last || Count > (Last - Address + 1) / Stride) {
    return EFI_UNSUPPORTED;
  }
  return EFI_SUCCESS;
}

static void ReadCell(EFI_MM_IO_WIDTH Width, UINT64 Address, void *Cell) {
  switch (Width) {
  case MM_IO_UINT8:
    *(UINT8 *)Cell = *(const volatile UINT8 *)Address;
    break;
  case MM_IO_UINT16:
    *(UINT16 *)Cell = *(const volatile UINT16 *)Address;
    break;
  case MM_IO_UINT32:
    *(UINT32 *)Cell = *(const volatile UINT32 *)Address;
    break;
  default:
    *(UINT64 *)Cell = *(const volatile UINT64 *)Address;
    break;
  }
}

static EFI_STATUS EFIAPI MemRead(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address, UINTN Count,
                                 void *Buffer) {
  EFI_STATUS Status = Check(Width, MM_IO_UINT64, Address, Count, LAST_ADDRESS, Buffer);

  (void)This;
  for (UINTN Index = 0; Index < Count && !EFI_ERROR(Status); Index++) {
    ReadCell(Width, Address + (Index << Width), (UINT8 *)Buffer + (Index << Width));
  }
  return Status;
}

static EFI_STATUS EFIAPI MemWrite(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address,
                                  UINTN Count, void *Buffer) {
  EFI_STATUS Status = Check(Width, MM_IO_UINT64, Address, Count, LAST_ADDRESS, Buffer);

  (void)This;
  for (UINTN Index = 0; Index < Count && !EFI_ERROR(Status); Index++) {
    UINT64      To = Address + (Index << Width);
    const void *From = (const UINT8 *)Buffer + (Index << Width);

    switch (Width) {
    case MM_IO_UINT8:
      *(volatile UINT8 *)To = *(const UINT8 *)From;
      break;
    case MM_IO_UINT16:
      *(volatile UINT16 *)To = *(const UINT16 *)From;
      break;
    case MM_IO_UINT32:
      *(volatile UINT32 *)To = *(const UINT32 *)From;
      break;
    default:
      *(volatile UINT64 *)To = *(const UINT64 *)From;
      break;
    }
  }
  return Status;
}

static EFI_STATUS EFIAPI IoRead(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address, UINTN Count,
                                void *Buffer) {
  EFI_STATUS Status = Check(Width, MM_IO_UINT32, Address, Count, LAST_PORT, Buffer);

  (void)This;
  for (UINTN Index = 0; Index < Count && !EFI_ERROR(Status); Index++) {
    UINT64 Value = SysCall(SMM_SC_IO_READ, Address + (Index << Width), Width, 0);

    ReadCell(Width, (UINTN)&Value, (UINT8 *)Buffer + (Index << Width));
  }
  return Status;
}

static EFI_STATUS EFIAPI IoWrite(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address, UINTN Count,
                                 void *Buffer) {
  EFI_STATUS Status = Check(Width, MM_IO_UINT32, Address, Count, LAST_PORT, Buffer);

  (void)This;
  for (UINTN Index = 0; Index < Count && !EFI_ERROR(Status); Index++) {
    UINT64 Value = 0;

    ReadCell(Width, (UINTN)Buffer + (Index << Width), &Value);
    SysCall(SMM_SC_IO_WRITE, Address + (Index << Width), Width, Value);
  }
  return Status;
}

static EFI_MM_CPU_IO_PROTOCOL mCpuIo = {{MemRead, MemWrite}, {IoRead, IoWrite}};

static EFI_STATUS EFIAPI CpuIoHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  CPU_IO_MESSAGE         *Message = CommBuffer;
  const EFI_MM_IO_ACCESS *Access;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  if (Message->Width <= MM_IO_UINT64 && (UINT64)Message->Count << Message->Width > sizeof Message->Data) {
    Message->Status = EFI_BAD_BUFFER_SIZE;
    return EFI_SUCCESS;
  }
  Access = Message->Space == CpuIoMemory ? &gMmst->MmIo.Mem : &gMmst->MmIo.Io;
  Message->Status = (Message->Write ? Access->Write : Access->Read)(
      &gMmst->MmIo, (EFI_MM_IO_WIDTH)Message->Width, Message->Address, Message->Count, Message->Data);
  return EFI_SUCCESS;
}

/* Starts only where the services are not there yet. */
EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  UINT8      Byte = 0;
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable;
  if (gMmst->MmIo.Io.Read(&gMmst->MmIo, MM_IO_UINT8, 0x80, 1, &Byte) != EFI_NOT_AVAILABLE_YET) {
    return EFI_ALREADY_STARTED;
  }
  gMmst->MmIo = mCpuIo;
  Status = MmInstall(&gEfiMmCpuIoProtocolGuid, &mCpuIo);
  return EFI_ERROR(Status) ? Status : SampleRegister(CpuIoHandler, &gSampleCpuIoHandlerGuid, NULL);
}
