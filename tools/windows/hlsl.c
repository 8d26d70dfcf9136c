// Compiles HLSL by one of Microsoft's compilers and says what came of it: hlsl.exe fxc|dxc TARGET LIST [ASSEMBLY]
//
// LIST names a file with one path a line. The compiler's library goes to stdout, then for each path one line: path, "ok" or "refused", milliseconds of processor
// time (so that a busy machine changes little), bytes of the program or the first error, with tabs between. The options are those that wgpu gives. Where ASSEMBLY is given, FXC's listing of the
// last program is written there.
#define COBJMACROS
#define INITGUID
#include <windows.h>
#include <d3dcompiler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The outcome for one file. `message` holds the first error.
struct Outcome {
    BOOL ok;
    SIZE_T bytes;
    char message[400];
};

// Keeps the first line of `text` that has "error" in it, or the first line.
static void keep_error(struct Outcome *outcome, const char *text, SIZE_T length) {
    char *copy = malloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    const char *from = strstr(copy, "error");
    snprintf(outcome->message, sizeof outcome->message, "%s", from ? from : copy);
    outcome->message[strcspn(outcome->message, "\r\n\t")] = 0;
    free(copy);
}

// Milliseconds that this process has computed.
static unsigned long long processor_time(void) {
    FILETIME created, ended;
    ULARGE_INTEGER kernel, user;
    FILETIME k, u;
    GetProcessTimes(GetCurrentProcess(), &created, &ended, &k, &u);
    kernel.LowPart = k.dwLowDateTime, kernel.HighPart = k.dwHighDateTime;
    user.LowPart = u.dwLowDateTime, user.HighPart = u.dwHighDateTime;
    return (kernel.QuadPart + user.QuadPart) / 10000;
}

static char *read_file(const char *path, SIZE_T *length) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    *length = fread(text, 1, *length, file);
    text[*length] = 0;
    fclose(file);
    return text;
}

// FXC: one exported function.

typedef HRESULT(WINAPI *Compile)(LPCVOID, SIZE_T, LPCSTR, const D3D_SHADER_MACRO *, ID3DInclude *, LPCSTR, LPCSTR, UINT, UINT,
                                 ID3DBlob **, ID3DBlob **);
typedef HRESULT(WINAPI *Disassemble)(LPCVOID, SIZE_T, UINT, LPCSTR, ID3DBlob **);

static void write_assembly(Disassemble disassemble, ID3DBlob *code, const char *to) {
    ID3DBlob *listing = NULL;
    if (FAILED(disassemble(ID3D10Blob_GetBufferPointer(code), ID3D10Blob_GetBufferSize(code), 0, NULL, &listing))) return;
    FILE *file = fopen(to, "wb");
    if (file) {
        fwrite(ID3D10Blob_GetBufferPointer(listing), 1, ID3D10Blob_GetBufferSize(listing) - 1, file);
        fclose(file);
    }
    ID3D10Blob_Release(listing);
}

static void fxc(HMODULE library, const char *target, const char *text, SIZE_T length, const char *assembly, struct Outcome *outcome) {
    Compile compile = (Compile)(void *)GetProcAddress(library, "D3DCompile");
    ID3DBlob *code = NULL, *errors = NULL;
    HRESULT result = compile(text, length, NULL, NULL, NULL, "main", target, D3DCOMPILE_ENABLE_STRICTNESS, 0, &code, &errors);
    outcome->ok = SUCCEEDED(result) && code;
    if (code) {
        outcome->bytes = ID3D10Blob_GetBufferSize(code);
        if (assembly) write_assembly((Disassemble)(void *)GetProcAddress(library, "D3DDisassemble"), code, assembly);
        ID3D10Blob_Release(code);
    }
    if (!outcome->ok && errors) keep_error(outcome, ID3D10Blob_GetBufferPointer(errors), ID3D10Blob_GetBufferSize(errors));
    if (errors) ID3D10Blob_Release(errors);
}

// DXC: three interfaces whose headers mingw lacks; only the methods that are called have types.

DEFINE_GUID(CLSID_DxcCompiler, 0x73e22d93, 0xe6ce, 0x47f3, 0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0);
DEFINE_GUID(IID_IDxcCompiler3, 0x228b4687, 0x5a6a, 0x4730, 0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54);
DEFINE_GUID(IID_IDxcResult, 0x58346cda, 0xdde7, 0x4497, 0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59);

struct DxcBuffer {
    LPCVOID text;
    SIZE_T length;
    UINT encoding;
};

struct DxcResult {
    struct {
        void *query_interface, *add_ref;
        ULONG(WINAPI *release)(struct DxcResult *);
        HRESULT(WINAPI *status)(struct DxcResult *, HRESULT *);
        HRESULT(WINAPI *result)(struct DxcResult *, ID3DBlob **);
        HRESULT(WINAPI *errors)(struct DxcResult *, ID3DBlob **);
    } *methods;
};

struct DxcCompiler {
    struct {
        void *query_interface, *add_ref, *release;
        HRESULT(WINAPI *compile)
        (struct DxcCompiler *, const struct DxcBuffer *, LPCWSTR *, UINT, void *, REFIID, struct DxcResult **);
    } *methods;
};

typedef HRESULT(WINAPI *Create)(REFGUID, REFIID, struct DxcCompiler **);

static void dxc(struct DxcCompiler *compiler, const char *target, const char *text, SIZE_T length, struct Outcome *outcome) {
    wchar_t wide[16];
    mbstowcs(wide, target, 16);
    LPCWSTR options[] = {L"-E", L"main", L"-T", wide, L"-HV", L"2018", L"-no-warnings", L"-Ges", L"-Vd", L"-enable-16bit-types"};
    struct DxcBuffer source = {text, length, CP_UTF8};
    struct DxcResult *result = NULL;
    HRESULT status = compiler->methods->compile(compiler, &source, options, ARRAYSIZE(options), NULL, &IID_IDxcResult, &result);
    if (FAILED(status)) {
        snprintf(outcome->message, sizeof outcome->message, "the compiler failed: %08lx", status);
        return;
    }
    result->methods->status(result, &status);
    outcome->ok = SUCCEEDED(status);
    // Blobs of DXC have the methods of ID3DBlob at the same places.
    ID3DBlob *blob = NULL;
    HRESULT got = outcome->ok ? result->methods->result(result, &blob) : result->methods->errors(result, &blob);
    if (SUCCEEDED(got) && blob) {
        outcome->bytes = ID3D10Blob_GetBufferSize(blob);
        if (!outcome->ok) keep_error(outcome, ID3D10Blob_GetBufferPointer(blob), outcome->bytes);
        ID3D10Blob_Release(blob);
    }
    result->methods->release(result);
}

int main(int count, char **arguments) {
    if (count < 4) return fprintf(stderr, "hlsl.exe fxc|dxc TARGET LIST [ASSEMBLY]\n"), 2;
    BOOL by_fxc = strcmp(arguments[1], "fxc") == 0;
    const char *name = by_fxc ? "d3dcompiler_47.dll" : "dxcompiler.dll", *target = arguments[2];
    HMODULE library = LoadLibraryA(name);
    if (!library) return fprintf(stderr, "%s does not load: error %lu\n", name, GetLastError()), 2;
    // Wine has a library of FXC's name too, so whoever reads the results is told which one it was.
    char from[MAX_PATH] = "";
    GetModuleFileNameA(library, from, MAX_PATH);
    printf("# %s\n", from);
    struct DxcCompiler *compiler = NULL;
    if (!by_fxc) {
        Create create = (Create)(void *)GetProcAddress(library, "DxcCreateInstance");
        if (!create || FAILED(create(&CLSID_DxcCompiler, &IID_IDxcCompiler3, &compiler)))
            return fprintf(stderr, "%s gives no compiler\n", name), 2;
    }
    FILE *list = fopen(arguments[3], "rb");
    if (!list) return fprintf(stderr, "%s cannot be read\n", arguments[3]), 2;
    int refused = 0;
    char path[600];
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\r\n")] = 0;
        SIZE_T length;
        char *text = read_file(path, &length);
        struct Outcome outcome = {0};
        unsigned long long start = processor_time();
        if (!text) snprintf(outcome.message, sizeof outcome.message, "cannot be read");
        else if (by_fxc) fxc(library, target, text, length, count > 4 ? arguments[4] : NULL, &outcome);
        else dxc(compiler, target, text, length, &outcome);
        unsigned long long took = processor_time() - start;
        if (outcome.ok) printf("%s\tok\t%llu\t%llu\n", path, took, (unsigned long long)outcome.bytes);
        else printf("%s\trefused\t%llu\t%s\n", path, took, outcome.message);
        fflush(stdout);
        refused += !outcome.ok;
        free(text);
    }
    fclose(list);
    return refused != 0;
}
