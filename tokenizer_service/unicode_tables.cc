#include "tokenizer_service/unicode_tables.h"

#include <cstring>

#include "common/status_macros.h"

namespace quartet::tokenizer {
namespace {

// Fills the 256 flags from `first` on; `run` is the run that holds `first` and moves on with it.
void FillPage(uint32_t first, size_t* run, uint8_t* page) {
  for (uint32_t i = 0; i < 256; ++i) {
    while (*run + 1 < kNumCodePointRuns && (kCodePointRuns[*run + 1] >> 8) <= first + i) ++*run;
    page[i] = static_cast<uint8_t>(kCodePointRuns[*run] & 0xff);
  }
}

}  // namespace

const CodePointTable& CodePointTable::Get() {
  static const CodePointTable* const table = new CodePointTable();
  return *table;
}

CodePointTable::CodePointTable() {
  size_t run = 0;
  uint16_t num_pages = 0;
  for (uint32_t block = 0; block < 0x1100; ++block) {
    QUARTET_CHECK(num_pages < kMaxPages);
    FillPage(block << 8, &run, pages_[num_pages]);
    uint16_t page = 0;
    while (page < num_pages && std::memcmp(pages_[page], pages_[num_pages], 256) != 0) ++page;
    if (page == num_pages) ++num_pages;
    page_of_[block] = page;
  }
}

}  // namespace quartet::tokenizer
