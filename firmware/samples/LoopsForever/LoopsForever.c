/*
 * LoopsForever: an entry point without end. On the device the MMI never ends either; only a budget does. The twin,
 * built with BENIGN, counts to a thousand.
 */
#include "../sample.h"

#ifdef BENIGN
#define ROUNDS 1000
#else
#define ROUNDS 0 /* 2^64 */
#endif

static void Loop(UINT64 Rounds) {
  do {
    __asm__ volatile("pause");
  } while (--Rounds != 0);
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  Loop(ROUNDS);
  return MmInstall(&gSampleLoopProtocolGuid, NULL);
}
