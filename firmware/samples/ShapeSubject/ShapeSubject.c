/*
 * ShapeSubject: a sound image from which ../shapes.py makes unsound ones. It holds the same little function in
 * .text, .rdata and .data, and its handler calls the one that the message names: which of them can be executed
 * depends on the section flags alone (docs/reference/memory.md section 5).
 *
 * It never writes its own data and so does without the library's gMmst: in some of the shapes .data is read-only.
 */
#include "../sample.h"

typedef enum { ShapeCallText, ShapeCallConstant, ShapeCallData, ShapeWriteText } SHAPE_CASE;

/* mov eax, number; ret */
#define FUNCTION_BYTES(number) {0xB8, number, 0x00, 0x00, 0x00, 0xC3}

const UINT8 gFunctionInConstants[] = FUNCTION_BYTES(0x52);
UINT8       gFunctionInData[] = FUNCTION_BYTES(0x44);

UINT64 EFIAPI FunctionInText(void); /* shape.S: answers 0x54 */
UINT64 EFIAPI ShapeCall(UINT64 Target);
void EFIAPI   ShapeWrite(UINT64 Address, UINT64 Value);

/* Value 0: what the function answered. */
static EFI_STATUS Act(SAMPLE_STEP_MESSAGE *Message) {
  switch (Message->Case) {
  case ShapeCallText:
    Message->Value[0] = ShapeCall((UINTN)FunctionInText);
    return EFI_SUCCESS;
  case ShapeCallConstant:
    Message->Value[0] = ShapeCall((UINTN)gFunctionInConstants);
    return EFI_SUCCESS;
  case ShapeCallData:
    Message->Value[0] = ShapeCall((UINTN)gFunctionInData);
    return EFI_SUCCESS;
  case ShapeWriteText:
    ShapeWrite((UINTN)FunctionInText, *(const volatile UINT8 *)FunctionInText); /* the same byte again */
    return EFI_SUCCESS;
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI ShapeSubjectHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                             UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Act(Message);
  return EFI_SUCCESS;
}

/* Holds the handler's address in constants, so that the image has something to relocate. */
static const EFI_MM_HANDLER_ENTRY_POINT mHandlers[] = {ShapeSubjectHandler};

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_MM_HANDLER_ENTRY_POINT const volatile *Handler = mHandlers;
  EFI_HANDLE                                 Handle = NULL;

  (void)ImageHandle;
  return MmSystemTable->MmiHandlerRegister(*Handler, &gSampleShapeSubjectHandlerGuid, &Handle);
}
