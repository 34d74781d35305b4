/*
 * Words of the UEFI and PI specifications that ring-3 drivers need: UEFI 2.10 chapter 2.3 and appendix D,
 * PI 1.8 volume 4. Freestanding C11, x86-64 only.
 */
#ifndef MM_BASE_H
#define MM_BASE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Every external function follows the Microsoft x64 convention. The build compiles whole modules with
 * -mabi=ms; the attribute is repeated at the interfaces so that they also hold in a host-side unit check.
 */
#ifndef EFIAPI
#define EFIAPI __attribute__((ms_abi))
#endif

typedef uint8_t  UINT8;
typedef uint16_t UINT16;
typedef uint32_t UINT32;
typedef uint64_t UINT64;
typedef int32_t  INT32;
typedef int64_t  INT64;
typedef uint64_t UINTN;
typedef int64_t  INTN;
typedef uint8_t  BOOLEAN;
typedef uint16_t CHAR16;

typedef UINT64 EFI_STATUS;
typedef UINT64 EFI_PHYSICAL_ADDRESS;
typedef UINT64 EFI_VIRTUAL_ADDRESS;
typedef void  *EFI_HANDLE;

#define TRUE  ((BOOLEAN)1)
#define FALSE ((BOOLEAN)0)

typedef struct {
  UINT32 Data1;
  UINT16 Data2;
  UINT16 Data3;
  UINT8  Data4[8];
} EFI_GUID;

#define MM_STATIC_ASSERT(condition) _Static_assert(condition, #condition)

MM_STATIC_ASSERT(sizeof(EFI_GUID) == 16);
MM_STATIC_ASSERT(sizeof(UINTN) == sizeof(void *));

#define EFI_PAGE_SIZE          0x1000ULL
#define EFI_PAGE_SHIFT         12
#define EFI_SIZE_TO_PAGES(size) (((size) >> EFI_PAGE_SHIFT) + (((size) & (EFI_PAGE_SIZE - 1)) != 0))
#define EFI_PAGES_TO_SIZE(pages) ((UINT64)(pages) << EFI_PAGE_SHIFT)

#define SIGNATURE_32(a, b, c, d) \
  ((UINT32)(a) | (UINT32)(b) << 8 | (UINT32)(c) << 16 | (UINT32)(d) << 24)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Status codes, UEFI appendix D. */
#define EFI_ERROR_BIT 0x8000000000000000ULL
#define EFI_ERROR(status) (((INT64)(EFI_STATUS)(status)) < 0)

#define EFI_SUCCESS              0ULL
#define EFI_INVALID_PARAMETER    (EFI_ERROR_BIT | 0x02)
#define EFI_UNSUPPORTED          (EFI_ERROR_BIT | 0x03)
#define EFI_BAD_BUFFER_SIZE      (EFI_ERROR_BIT | 0x04)
#define EFI_BUFFER_TOO_SMALL     (EFI_ERROR_BIT | 0x05)
#define EFI_NOT_READY            (EFI_ERROR_BIT | 0x06)
#define EFI_DEVICE_ERROR         (EFI_ERROR_BIT | 0x07)
#define EFI_WRITE_PROTECTED      (EFI_ERROR_BIT | 0x08)
#define EFI_OUT_OF_RESOURCES     (EFI_ERROR_BIT | 0x09)
#define EFI_NOT_FOUND            (EFI_ERROR_BIT | 0x0E)
#define EFI_ACCESS_DENIED        (EFI_ERROR_BIT | 0x0F)
#define EFI_NO_MAPPING           (EFI_ERROR_BIT | 0x11)
#define EFI_NOT_STARTED          (EFI_ERROR_BIT | 0x13)
#define EFI_ALREADY_STARTED      (EFI_ERROR_BIT | 0x14)
#define EFI_ABORTED              (EFI_ERROR_BIT | 0x15)
#define EFI_INCOMPATIBLE_VERSION (EFI_ERROR_BIT | 0x19)
#define EFI_SECURITY_VIOLATION   (EFI_ERROR_BIT | 0x1A)
#define EFI_COMPROMISED_DATA     (EFI_ERROR_BIT | 0x21)

/* PI status codes: bit 61 set, with or without the error bit (PI 1.8 volume 1, section 2.4). */
#define EFI_INTERRUPT_PENDING                0xA000000000000000ULL
#define EFI_NOT_AVAILABLE_YET                0xA000000000000002ULL
#define EFI_WARN_INTERRUPT_SOURCE_PENDING    0x2000000000000000ULL
#define EFI_WARN_INTERRUPT_SOURCE_QUIESCED   0x2000000000000001ULL

typedef enum {
  EfiReservedMemoryType,
  EfiLoaderCode,
  EfiLoaderData,
  EfiBootServicesCode,
  EfiBootServicesData,
  EfiRuntimeServicesCode,
  EfiRuntimeServicesData,
  EfiConventionalMemory,
  EfiUnusableMemory,
  EfiACPIReclaimMemory,
  EfiACPIMemoryNVS,
  EfiMemoryMappedIO,
  EfiMemoryMappedIOPortSpace,
  EfiPalCode,
  EfiPersistentMemory,
  EfiMaxMemoryType
} EFI_MEMORY_TYPE;

typedef enum { AllocateAnyPages, AllocateMaxAddress, AllocateAddress, MaxAllocateType } EFI_ALLOCATE_TYPE;

typedef enum { AllHandles, ByRegisterNotify, ByProtocol } EFI_LOCATE_SEARCH_TYPE;

typedef enum { EFI_NATIVE_INTERFACE } EFI_INTERFACE_TYPE;

typedef struct {
  UINT64 Signature;
  UINT32 Revision;
  UINT32 HeaderSize;
  UINT32 CRC32;
  UINT32 Reserved;
} EFI_TABLE_HEADER;

MM_STATIC_ASSERT(sizeof(EFI_TABLE_HEADER) == 0x18);

typedef struct {
  EFI_GUID VendorGuid;
  void    *VendorTable;
} EFI_CONFIGURATION_TABLE;

typedef struct {
  UINT32               Type;
  EFI_PHYSICAL_ADDRESS PhysicalStart;
  EFI_VIRTUAL_ADDRESS  VirtualStart;
  UINT64               NumberOfPages;
  UINT64               Attribute;
} EFI_MEMORY_DESCRIPTOR;

MM_STATIC_ASSERT(sizeof(EFI_MEMORY_DESCRIPTOR) == 40);

#endif
