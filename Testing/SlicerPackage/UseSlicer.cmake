# What an extension gets from include(${Slicer_USE_FILE}).

include(CTest)
include(${Slicer_CMAKE_DIR}/ScriptedModules.cmake)

if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME ${PROJECT_NAME})
endif()

# Slicer looks for these two beside the top CMakeLists.txt and refuses to package an extension without them.
foreach(variable_and_names IN ITEMS "EXTENSION_README_FILE;README.md;README.txt"
                                    "EXTENSION_LICENSE_FILE;LICENSE.txt;LICENSE;License.txt;LICENSE.md")
  list(POP_FRONT variable_and_names variable)
  foreach(name IN LISTS variable_and_names)
    if(NOT DEFINED ${variable} AND EXISTS ${PROJECT_SOURCE_DIR}/${name})
      set(${variable} ${PROJECT_SOURCE_DIR}/${name})
    endif()
  endforeach()
endforeach()
